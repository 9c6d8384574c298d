"""Recording what passes over a cable, for tcpdump and Wireshark.

The format is libpcap's savefile with nanosecond time stamps (pcap-savefile(5)): a header of 24
bytes, then for each frame 16 bytes and the frame.
"""

from __future__ import annotations

import contextlib
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Protocol

from maquina.errors import HostError

MAGIC_NANOSECONDS = 0xA1B23C4D
LINK_ETHERNET = 1
SNAP_LENGTH = 262144  # libpcap's largest: nothing is cut
FILE_HEADER = struct.pack("=IHHiIII", MAGIC_NANOSECONDS, 2, 4, 0, 0, SNAP_LENGTH, LINK_ETHERNET)
FRAME_HEADER = struct.Struct("=IIII")

# A guest decides how much it sends: without an end it would fill the host's disk.
MAX_CAPTURE_BYTES = 4 << 30


class Cable(Protocol):
    """What is recorded: any network backend."""

    def attach(self, receive: Callable[[bytes], bool]) -> None: ...
    def send(self, frame: bytes) -> None: ...
    def ready(self) -> None: ...
    def close(self) -> None: ...


class PcapWriter:
    """A capture file. Any thread may write; the file is complete up to the last `flush`.

    When it reaches `limit_bytes`, or the disk is full, recording ends and the network goes on:
    `stopped` says why.
    """

    def __init__(self, path: Path, limit_bytes: int = MAX_CAPTURE_BYTES) -> None:
        try:
            self._file: BinaryIO = path.open("wb")
        except OSError as error:
            raise HostError(
                f"cannot write the capture {path} ({error.strerror})", "choose another file"
            ) from error
        self.stopped: str | None = None
        self._left = limit_bytes
        self._lock = threading.Lock()
        self._write(FILE_HEADER)

    def write(self, frame: bytes) -> None:
        """Add a frame, stamped with the present time."""
        seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
        head = FRAME_HEADER.pack(seconds, nanoseconds, len(frame), len(frame))
        with self._lock:
            self._write(head + frame)

    def _write(self, data: bytes) -> None:
        if self.stopped is not None:
            return
        self._left -= len(data)
        if self._left < 0:
            self.stopped = "the capture reached its limit"
            return
        try:
            self._file.write(data)
        except OSError as error:
            self.stopped = str(error)

    def flush(self) -> None:
        """Hand everything so far to the operating system."""
        with self._lock, contextlib.suppress(OSError):
            if not self._file.closed:
                self._file.flush()

    def close(self) -> None:
        """Finish the file. Frames that come later are not recorded."""
        with self._lock:
            self.stopped = self.stopped or "the capture was closed"
            with contextlib.suppress(OSError):
                self._file.close()


class Capture:
    """A backend with a recorder on its cable: it records both directions.

    A frame that the guest had no buffer for is recorded when it is taken, so once.
    """

    def __init__(self, backend: Cable, path: Path) -> None:
        self._backend = backend
        self._writer = PcapWriter(path)

    def attach(self, receive: Callable[[bytes], bool]) -> None:
        """Deliver frames to `receive` and record those that it takes."""

        def receive_and_record(frame: bytes) -> bool:
            is_taken = receive(frame)
            if is_taken:
                self._writer.write(frame)
            return is_taken

        self._backend.attach(receive_and_record)

    def send(self, frame: bytes) -> None:
        """Record a frame from the guest and pass it on."""
        self._writer.write(frame)
        self._backend.send(frame)

    def ready(self) -> None:
        """Pass on that the guest has buffers again."""
        self._backend.ready()

    def flush(self) -> None:
        """Let other programs see what was recorded so far."""
        self._writer.flush()

    def close(self) -> None:
        """Close the backend, then the file."""
        self._backend.close()
        self._writer.close()
