"""From what a person asks for to what a machine is made of.

`Materials` opens everything a machine needs (layers, disks, a network) and gives it back in the
opposite order; what a run writes to its root goes to a temporary directory and with it.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISLNK
from threading import RLock
from types import TracebackType
from typing import TYPE_CHECKING, Self

from maquina.errors import HostError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from maquina.boards.configuration import NetworkCard
    from maquina.images import Guest
    from maquina.machine.backends import BlockBackend
    from maquina.net.publish import Publication
    from maquina.net.user import UserNetwork
    from maquina.storage.layers.stack import Stack

MIN_GUEST_BYTES = 96 << 20  # with less, Debian's kernel dies of it without a word
ROOT_OWNER = (0, 0)
MAX_COMMAND_LINE = 1023  # of more, Linux on RISC-V takes the beginning and says nothing
GIVE_UP = "panic=-1"  # a kernel that cannot go on resets the machine, which ends the run


@dataclass(frozen=True, kw_only=True)
class Drive:
    """A disk image to attach."""

    path: Path
    format: str | None = None
    is_read_only: bool = False
    may_have_backing: bool = False  # an overlay that may open the image it lies on
    bus: str = "pci"  # or "mmio", for kernels that know nothing of PCI


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A machine as a person describes it. With `guest`, its root is a copy-on-write stack."""

    guest: Guest | None = None
    name: str = "maquina"
    kernel: Path | None = None
    initrd: Path | None = None
    firmware: Path | None = None
    append: str = ""
    is_stock: bool = False
    memory_bytes: int = 1 << 30
    harts: int = 1
    accel: str = "interp"
    drives: tuple[Drive, ...] = ()
    has_network: bool = True
    published: tuple[Publication, ...] = ()
    capture: Path | None = None
    trace: Path | None = None

    def check(self) -> None:
        """UsageError for what does not go together."""
        if self.guest is not None and self.memory_bytes < MIN_GUEST_BYTES:
            raise UsageError(
                f"{self.memory_bytes >> 20} MiB of memory are too little for this guest",
                f"ask for {MIN_GUEST_BYTES >> 20}M or more",
            )
        if self.guest is None and self.kernel is None and self.firmware is None:
            raise UsageError("nothing to run", "name an image, --kernel or --firmware")
        if not self.has_network and (self.published or self.capture):
            raise UsageError("no network to publish or capture", "leave out --network none")


def state_directory() -> Path:
    """Where machines keep what is theirs while they run. HostError if it cannot be made."""
    base = Path(os.environ.get("XDG_STATE_HOME", ""))
    if not base.is_absolute():
        base = Path.home() / ".local" / "state"
    directory = base / "maquina"
    with _state_limits(directory):
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    return directory


@contextmanager
def _state_limits(directory: Path) -> Iterator[None]:
    """HostError for what the host refuses there."""
    try:
        yield
    except OSError as error:
        has_no_room = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise HostError(
            f"cannot write below {directory}: {error.strerror}",
            f"{'make room' if has_no_room else 'change its permissions'},"
            " or set XDG_STATE_HOME to another directory",
        ) from error


class Materials:
    """What one machine is made of, open until `close`."""

    def __init__(self, wanted: Wanted) -> None:
        """MaquinaError if something cannot be opened; nothing stays open then."""
        wanted.check()
        self.wanted = wanted
        self.lock = RLock()
        self.network: UserNetwork | None = None
        self.published: list[Publication] = []  # with the ports that the host has chosen
        with ExitStack() as stack:
            self.drives = [self._open_drive(drive, stack) for drive in wanted.drives]
            self.card = self._open_network(stack) if wanted.has_network else None
            self.trace = self._open_trace(wanted.trace, stack) if wanted.trace else None
            self.root = self._open_root(wanted.guest, stack) if wanted.guest else None
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._stack.close()

    def drives_on(self, bus: str) -> list[BlockBackend]:
        """The drives of one bus, in the order they were named."""
        pairs = zip(self.wanted.drives, self.drives, strict=True)
        return [image for drive, image in pairs if drive.bus == bus]

    @property
    def command_line(self) -> str:
        """For the kernel: what the guest's recipe has, then what was asked for.

        UsageError if that is more than the kernel reads.
        """
        guest = self.wanted.guest
        if guest is None:
            return self.wanted.append
        from maquina.boards.configuration import ROOT_TAG
        from maquina.guest.files import BOOT_WORDS

        kernel = guest.kernel.stock if self.wanted.is_stock else guest.kernel.tuned
        root = f"root={ROOT_TAG} rootfstype=virtiofs rw"
        name = f"hostname={self.wanted.name}"
        words = (kernel, root, BOOT_WORDS, name, GIVE_UP, self.wanted.append)
        line = " ".join(filter(None, words))
        if len(line.encode()) > MAX_COMMAND_LINE:
            raise UsageError(
                f"a kernel command line of {len(line.encode())} bytes",
                f"shorten --append: the kernel reads {MAX_COMMAND_LINE}",
            )
        return line

    @property
    def first_calls(self) -> list[tuple[str, ...]]:
        """What the agent does before any command: drivers, and the network."""
        guest = self.wanted.guest
        if guest is None:
            return []
        from maquina.net.addresses import text

        calls = []
        if self.drives:
            calls.append(("load", *_in_guest(guest.disk_modules)))
        if self.network is not None:
            lan = self.network.lan
            calls.append(("load", *_in_guest(guest.modules)))
            calls.append(
                ("network", *map(text, (lan.guest, lan.netmask, lan.gateway, lan.resolver)))
            )
        return calls

    @property
    def has_something_to_keep(self) -> bool:
        """Whether what the guest has not written yet would be missed."""
        return any(not drive.is_read_only for drive in self.drives)

    def _open_drive(self, drive: Drive, stack: ExitStack) -> BlockBackend:
        from maquina.storage.formats import open_image

        image = open_image(
            drive.path,
            image_format=drive.format,
            read_only=drive.is_read_only,
            allow_backing=drive.may_have_backing,
        )
        stack.callback(image.close)
        return image

    def _open_trace(self, path: Path, stack: ExitStack) -> Callable[[str], None]:
        try:
            file = stack.enter_context(path.open("w"))
        except OSError as error:
            raise HostError(
                f"cannot write the trace {path} ({error.strerror})", "choose another file"
            ) from error
        return lambda line: print(line, end="", file=file)

    def _open_network(self, stack: ExitStack) -> NetworkCard:
        from maquina.boards.configuration import NetworkCard
        from maquina.net.addresses import make_lan
        from maquina.net.pcap import Capture
        from maquina.net.user import UserNetwork

        has_checksums = self.wanted.capture is not None or self.wanted.guest is None
        self.network = network = UserNetwork(make_lan(has_checksums=has_checksums))
        stack.callback(network.close)
        self.published = [network.publish(*one) for one in self.wanted.published]
        mtu = network.lan.mtu
        if self.wanted.capture is None:
            return NetworkCard(backend=network, mtu=mtu, has_checksums=has_checksums)
        capture = Capture(network, self.wanted.capture)
        stack.callback(capture.close)
        return NetworkCard(backend=capture, mtu=mtu)

    def _open_root(self, guest: Guest, stack: ExitStack) -> Stack:
        from maquina.images.guest import in_use
        from maquina.storage.layers.layer import Layer
        from maquina.storage.layers.stack import Stack as LayerStack
        from maquina.storage.layers.upper import Upper

        stack.enter_context(in_use(guest))
        layers = [stack.enter_context(Layer.open(path)) for path in guest.layers]
        state = state_directory()
        root = stack.enter_context(LayerStack(layers, Upper.temporary(state)))
        with _state_limits(state):
            _install(root, guest.busybox)
        return root


def _in_guest(modules: tuple[Path, ...]) -> list[str]:
    from maquina.images.guest import MODULES

    return [f"/{MODULES}/{module.name}" for module in modules]


def _install(root: Stack, busybox: Path) -> None:
    """Give a root what our first process and agent are."""
    from maquina.guest.files import guest_files

    for file in guest_files(busybox):
        directory, _, name = file.path.rpartition("/")
        parent = root.find(directory).ino
        if S_ISLNK(file.mode):
            root.symlink(parent, name.encode(), file.data, ROOT_OWNER)
            continue
        inode = root.create(parent, name.encode(), file.mode, ROOT_OWNER)
        if file.data:
            root.write_from(inode.ino, 0, [memoryview(file.data)])
