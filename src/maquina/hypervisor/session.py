"""A machine with a guest in it, for as long as one command or one terminal lasts.

    with Session(Wanted(guest=debian())) as session:
        command = session.start_command(["python3", "-c", "print(6*7)"], (0, 1, 2))
        status = session.wait(command)

Files are the host's, by descriptor; they stay open, and theirs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from errno import EPIPE
from types import TracebackType
from typing import Self

from maquina.boards.configuration import Configuration
from maquina.boards.ending import How
from maquina.boards.machine import Machine
from maquina.devices.virtio.console import Console
from maquina.errors import ImageError
from maquina.guest.agent import MAX_PORTS, Agent, Command
from maquina.guest.ports import Feed, SerialLine, Terminal
from maquina.guest.pumps import Filter, Sink, Source
from maquina.hypervisor.recipes import Materials, Wanted
from maquina.machine.backends import CharBackend, PortBackend
from maquina.net.publish import Publication
from maquina.storage.layers.stack import Stack

LOG_BYTES = 1 << 16  # of the kernel's messages are kept, however many there are
LINGER_S = 0.5  # for output of what a command left behind, after it ended
LAST_LINES = 12
WRITING_S = 30.0  # for a guest to write what it has not written yet


class Log:
    """The last of what a guest's kernel said."""

    def __init__(self) -> None:
        self._pieces: deque[bytes] = deque()
        self._size = 0

    def __call__(self, data: bytes) -> int:
        self._pieces.append(data)
        self._size += len(data)
        while self._size > LOG_BYTES:
            self._size -= len(self._pieces.popleft())
        return len(data)

    @property
    def text(self) -> str:
        """All that is kept."""
        return b"".join(self._pieces).decode(errors="replace")

    def last_lines(self) -> str:
        """The end of it, indented."""
        lines = self.text.splitlines()
        return "".join(f"\n    {line.rstrip()}" for line in lines[-LAST_LINES:])


class Session:
    """A machine for one purpose: call a `start` method, then `wait`, then `close`."""

    def __init__(self, wanted: Wanted) -> None:
        """MaquinaError if something that the machine is made of cannot be opened."""
        self.log = Log()
        self._stack = ExitStack()
        self._materials = self._stack.enter_context(Materials(wanted))
        self.lock = self._materials.lock
        self.agent = Agent(self.lock)
        self.machine: Machine | None = None
        self._pumps = ExitStack()
        self._sinks: list[Sink] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None:
            self.abort()
        self.close()

    def close(self) -> None:
        """Switch the machine off and give everything back.

        A guest with disks to write to is asked to do so first.
        """
        with self._stack, self._pumps:
            if self.machine is not None:
                if self._materials.has_something_to_keep:
                    self.switch_off()
                self.machine.close()

    def switch_off(self) -> None:
        """Have a guest write what it has not written yet, and switch its machine off."""
        if self.machine is not None and self.agent.is_ready.is_set():
            self.agent.call("power_off")
            self.machine.wait(WRITING_S)

    @property
    def root(self) -> Stack | None:
        """The guest's files. The machine's as long as it runs."""
        return self._materials.root

    # -- what a session can be for -------------------------------------------------------------

    def start_command(
        self,
        argv: Sequence[str],
        streams: tuple[int | None, int, int],
        variables: dict[str, str] | None = None,
    ) -> Command:
        """Run a command with files as its standard input (None: empty), output and error.

        The first one starts the machine; more may run beside it.
        """
        if self.machine is None:
            self._start_guest(Terminal(Feed(self.lock), len))
        feed = None if streams[0] is None else self._source(streams[0]).feed
        sinks = [self._sink(fd) for fd in streams[1:]]
        drains = [sink.drain for sink in sinks]
        command = self.agent.start(argv, (feed, drains[0], drains[1]), variables=variables)
        for sink in sinks:  # nobody reads on: what a pipe would tell the command
            sink.on_broken = lambda: command.signal("PIPE")
        return command

    def start_terminal(
        self,
        argv: Sequence[str],
        files: tuple[int, int],
        variables: dict[str, str],
        keys: Filter | None = None,
    ) -> Command:
        """Run a command, a login shell if it is empty, on a terminal: input and output.

        `keys` sees what is typed and answers what of it is for the guest.
        """
        feed = self._source(files[0], keys).feed
        self._start_guest(Terminal(feed, self._sink(files[1]).put))
        return self.agent.start_on_terminal(argv, directory="/root", variables=variables)

    def start_bare(self, files: tuple[int | None, int], keys: Filter | None = None) -> None:
        """Start any system, with files as the two directions of its serial port."""
        feed = Feed(self.lock) if files[0] is None else self._source(files[0], keys).feed
        self._start(SerialLine(feed, self._sink(files[1]).put), None)

    def abort(self) -> None:
        """Switch the machine off now; whoever waits for its command hears that there is none."""
        for sink in self._sinks:
            sink.swallow()
        if self.machine is not None:
            self.machine.stop()

    def resize(self, columns: int, rows: int) -> None:
        """The terminal has another size now."""
        self.agent.resize(columns, rows)

    @property
    def published(self) -> list[Publication]:
        """The published ports; where 0 was asked for, those that the host has chosen."""
        return self._materials.published

    # -- how it ends ---------------------------------------------------------------------------

    def wait(self, command: Command, timeout_s: float | None = None) -> int | None:
        """The command's status, when its output is complete; None if the time is over before.

        Afterwards its ports may be used by other commands. A guest that switched itself off has
        ended its commands with the status that it gave.

        ImageError if the guest ended in another way before its command did.
        """
        if not command.ended.wait(timeout_s):
            return None
        if command.status is None:
            return self._status_of_guest()
        command.drained.wait(LINGER_S)
        self.agent.forget(command)
        return command.status

    def wait_bare(self, timeout_s: float | None = None) -> int | None:
        """The status that the guest switched off with; None if the time is over before."""
        assert self.machine is not None, "started before"
        ending = self.machine.wait(timeout_s)
        return None if ending is None else ending.status

    def _status_of_guest(self) -> int:
        assert self.machine is not None, "started before"
        ending = self.machine.wait()  # raises what went wrong in the machine, if that was it
        if ending is not None and ending.how is How.POWER_OFF:
            return ending.status
        raise ImageError(
            "the guest ended before its command did", f"its last words:{self.log.last_lines()}"
        )

    @property
    def output_error(self) -> OSError | None:
        """Why output could not be written to its file, if it could not; no reader is no error."""
        errors = (sink.error for sink in self._sinks)
        return next((error for error in errors if error and error.errno != EPIPE), None)

    # -- parts ---------------------------------------------------------------------------------

    def _start_guest(self, terminal: PortBackend) -> None:
        """Start a machine with an agent in it."""
        self._start(
            SerialLine(Feed(self.lock), self.log),
            lambda console: self.agent.plug(console, terminal),
        )
        for call in self._materials.first_calls:
            self.agent.call(*call)

    def _start(self, serial: CharBackend, plug: Callable[[Console], None] | None) -> None:
        wanted, made = self._materials.wanted, self._materials
        guest = wanted.guest
        self.machine = Machine(
            Configuration(
                memory_bytes=wanted.memory_bytes,
                harts=wanted.harts,
                accel=wanted.accel,
                trace=made.trace,
                kernel=guest.kernel.image if guest and not wanted.kernel else wanted.kernel,
                initrd=wanted.initrd,
                firmware=wanted.firmware,
                command_line=made.command_line,
                serial=serial,
                drives=made.drives_on("pci"),
                mmio_drives=made.drives_on("mmio"),
                network=made.card,
                root=made.root,
                plug=plug,
                console_ports=MAX_PORTS,
                is_reset_final=plug is not None,
                lock=self.lock,
            )
        )
        self.machine.on_end.append(self.agent.hang_up)
        self.machine.start()

    def _source(self, fd: int, keys: Filter | None = None) -> Source:
        source = Source(fd, self.lock, keys)
        source.start()
        self._pumps.callback(source.close)
        return source

    def _sink(self, fd: int) -> Sink:
        sink = Sink(fd)
        sink.start()
        self._sinks.append(sink)
        self._pumps.callback(sink.close)
        return sink
