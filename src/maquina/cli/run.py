"""`maquina run`: a machine for one command, one terminal, or a system of one's own."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from maquina.cli.sizes import Seconds, Size
from maquina.errors import UsageError

if TYPE_CHECKING:
    from maquina.hypervisor.recipes import Drive, Wanted
    from maquina.hypervisor.session import Session
    from maquina.images import Guest

FILE = click.Path(dir_okay=False, path_type=Path)


@click.command(short_help="Run a command, a shell, or a system of your own in a new machine.")
@click.option("--memory", type=Size(), default="1G", show_default=True, help="Guest memory.")
@click.option("--cpus", type=int, default=1, show_default=True, help="Virtual processors.")
@click.option("--accel", default="interp", show_default=True, help="interp or reference.")
@click.option("--network", type=click.Choice(["user", "none"]), default="user", show_default=True)
@click.option(
    "--publish",
    multiple=True,
    metavar="[ADDR:]HOST:GUEST[/udp]",
    help="Lead a port of this host, on loopback if no ADDR is given, to the guest.",
)
@click.option("--pcap", type=FILE, help="Record the network traffic in this file.")
@click.option(
    "--drive",
    multiple=True,
    metavar="FILE[,format=NAME][,ro][,backing][,bus=mmio]",
    help="Attach a disk image; backing allows the image it lies on; the bus is PCI or MMIO.",
)
@click.option("--kernel", type=FILE, help="Start this kernel.")
@click.option("--initrd", type=FILE, help="With this initial RAM disk.")
@click.option("--append", default="", help="Words for the kernel's command line.")
@click.option("--firmware", type=FILE, help="Start this in M-mode; it finds the kernel.")
@click.option("--package", "packages", multiple=True, help="Add a Debian package.")
@click.option("--suite", help="Debian release  [default: trixie].")
@click.option(
    "--guest-kernel",
    default="small",
    show_default=True,
    help="small, or a Debian suite whose kernel is wanted.",
)
@click.option("--mirror", help="A Debian mirror  [default: as apt has it].")
@click.option("--keyring", type=FILE, help="Keys to believe instead of the host's.")
@click.option(
    "--prepare/--no-prepare",
    default=True,
    envvar="MAQUINA_PREPARE",
    show_envvar=True,
    help="Configure added packages and compile Python's library in the image, once. Or take it as "
    "it was unpacked.",
)
@click.option("--trace", type=FILE, help="Write every instruction to this file. Slow.")
@click.option("--stock", is_flag=True, help="Boot with Debian's own kernel command line.")
@click.option("--tty", is_flag=True, help="Give the command a terminal.")
@click.option("--env", multiple=True, metavar="NAME=VALUE", help="Set a variable for the command.")
@click.option("--timeout", type=Seconds(), metavar="SECONDS", help="Switch off after so long.")
@click.option("--timings", is_flag=True, help="Say at the end how long what took.")
@click.argument("image", required=False)
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def run(**options: Any) -> None:
    """Run COMMAND, or a login shell, in a new machine that is removed afterwards.

    \b
        maquina run debian                            a prompt; Ctrl-A x leaves
        maquina run debian -- python3 -c 'print(42)'  one command, its streams and status
        maquina run --kernel Image --initrd initrd.gz --append console=ttyS0

    The exit status is the command's. It is 125 for trouble with the machine itself, 124 when the
    time is over, 130 after Ctrl-C.
    """
    from maquina.cli.attended import INTERRUPTED
    from maquina.cli.signals import Terminated, raising

    with raising():
        try:
            status = _run(options)
        except Terminated as end:
            status = end.status
        except KeyboardInterrupt:
            status = INTERRUPTED
    raise SystemExit(status)


def _run(options: dict[str, Any]) -> int:
    begun = time.monotonic()
    wanted = _wanted(options)
    from maquina.cli import attended
    from maquina.hypervisor.session import Session

    variables = _variables(options["env"])
    with Session(wanted) as session:
        opened = time.monotonic()
        for asked, one in zip(wanted.published, session.published, strict=True):
            if asked.host_port == 0:
                click.echo(f"maquina: publishes {one}", err=True)
        try:
            if wanted.guest is None:
                return attended.run_bare(session, options["timeout"])
            if options["tty"] or not options["command"]:
                return attended.run_on_terminal(
                    session, options["command"], variables, options["timeout"]
                )
            return attended.run_command(session, options["command"], variables, options["timeout"])
        finally:
            if options["timings"]:
                _say_timings(session, begun, opened)


def _wanted(options: dict[str, Any]) -> Wanted:
    from maquina.hypervisor.recipes import Wanted
    from maquina.net.publish import parse_publication

    return Wanted(
        guest=_guest(options),
        name=options["image"] or "maquina",
        kernel=options["kernel"],
        initrd=options["initrd"],
        firmware=options["firmware"],
        append=options["append"],
        is_stock=options["stock"],
        memory_bytes=options["memory"],
        harts=options["cpus"],
        accel=options["accel"],
        drives=tuple(map(_drive, options["drive"])),
        has_network=options["network"] == "user",
        published=tuple(map(parse_publication, options["publish"])),
        capture=options["pcap"],
        trace=options["trace"],
    )


def _guest(options: dict[str, Any]) -> Guest | None:
    image = options["image"]
    if image is None:
        if options["command"]:
            raise UsageError("a command and no image", "write maquina run debian -- COMMAND")
        return None
    if image != "debian":
        raise UsageError(f"no image {image!r}", "use debian, or --kernel for a system of your own")
    from maquina.hypervisor.preparing import prepare
    from maquina.images import debian, on_terminal

    with on_terminal() as progress:
        guest = debian(
            options["suite"],
            options["packages"],
            options["guest_kernel"],
            options["mirror"],
            options["keyring"],
            progress,
        )
        return prepare(guest, progress) if options["prepare"] else guest


def _drive(text: str) -> Drive:
    """Read FILE[,format=NAME][,ro][,backing][,bus=pci|mmio]."""
    from maquina.hypervisor.recipes import Drive

    name, *words = text.split(",")
    image_format, bus = None, "pci"
    for word in words:
        if word.startswith("format="):
            image_format = word.removeprefix("format=")
        elif word in ("bus=pci", "bus=mmio"):
            bus = word.removeprefix("bus=")
        elif word not in ("ro", "backing"):
            raise UsageError(
                f"{word!r} says nothing of a drive", "use format=NAME, ro, backing or bus=mmio"
            )
    return Drive(
        path=Path(name),
        format=image_format,
        is_read_only="ro" in words,
        may_have_backing="backing" in words,
        bus=bus,
    )


def _variables(words: tuple[str, ...]) -> dict[str, str]:
    for word in words:
        if "=" not in word:
            raise UsageError(f"{word!r} sets no variable", "write NAME=VALUE")
    return dict(word.split("=", 1) for word in words)


def _say_timings(session: Session, begun: float, opened: float) -> None:
    """One line on standard error."""
    ended = time.monotonic()
    done = session.machine.statistics() if session.machine else None
    figures = {"prepared": opened - begun}
    if done is not None:
        figures |= {"ran": done.seconds, "instructions": done.instructions / 1e6}
    figures["total"] = ended - begun
    words = (
        f"{name} {value:.0f}M" if name == "instructions" else f"{name} {value:.2f} s"
        for name, value in figures.items()
    )
    click.echo(f"maquina: {', '.join(words)}", err=True)
