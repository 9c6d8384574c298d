"""Threads between console ports and the host's files: pipes, terminals, /dev/null.

A pump's file may stop taking or giving bytes at any time; the guest then waits, and closing the
pump does not.
"""

from __future__ import annotations

import os
import select
import threading
from collections import deque
from collections.abc import Callable
from typing import TypeAlias

from maquina.guest.ports import Drain, Feed, Lock

READ_BYTES = 1 << 16
WRITE_BYTES = select.PIPE_BUF  # as much as a pipe that polls ready takes without blocking
MAX_QUEUED_BYTES = 1 << 20  # a guest that writes faster than its reader reads waits beyond this


Filter: TypeAlias = Callable[[bytes], bytes]


class _Wakeable:
    """A file that a thread waits for, and a pipe by which it is told to stop waiting."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._reading_end, self._writing_end = os.pipe2(os.O_CLOEXEC)
        self.is_closing = False

    def wait(self, for_what: int) -> bool:
        """Wait until the file is ready; False if it is time to stop."""
        poll = select.poll()
        poll.register(self.fd, for_what)
        poll.register(self._reading_end, select.POLLIN)
        poll.poll()
        return not self.is_closing

    def wake(self) -> None:
        self.is_closing = True
        os.write(self._writing_end, b"\0")

    def close(self) -> None:
        os.close(self._reading_end)
        os.close(self._writing_end)


class Source:
    """Reads a file of the host for a program in the guest."""

    def __init__(self, fd: int, lock: Lock, keys: Filter | None = None) -> None:
        """`keys` sees what is read and answers what of it is for the guest."""
        self._keys = keys
        self._room = threading.Event()
        self.feed = Feed(lock, self._room.set)
        self._file = _Wakeable(fd)
        self._thread = threading.Thread(target=self._run, name="input")

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Stop reading. The file stays open."""
        self._file.wake()
        self._room.set()
        self._thread.join()
        self._file.close()

    def _run(self) -> None:
        while self._file.wait(select.POLLIN):
            try:
                data = os.read(self._file.fd, READ_BYTES)
            except OSError:
                data = b""  # a terminal that was closed, for one
            if not data:
                self.feed.finish()
                return
            self._room.clear()
            self.feed.send(self._keys(data) if self._keys else data)
            if self.feed.size_bytes:
                self._room.wait()


class Sink:
    """Writes what a program in the guest says to a file of the host."""

    def __init__(self, fd: int) -> None:
        self.drain = Drain(self._take)
        self._file = _Wakeable(fd)
        self.on_broken: Callable[[], None] | None = None  # the file takes no more
        self.error: OSError | None = None  # why it does not
        self._changed = threading.Condition()
        self._queue: deque[bytes] = deque()
        self._queued_bytes = 0
        self._has_refused = False
        self._is_finishing = False
        self._is_swallowing = False
        self._thread = threading.Thread(target=self._run, name="output")

    def start(self) -> None:
        self._thread.start()

    def put(self, data: bytes) -> int:
        """Take all of it, waiting for room: for devices that have no way to wait."""
        rest = data
        while rest:
            rest = rest[self._take(rest) :]
            with self._changed:
                while self._queued_bytes >= MAX_QUEUED_BYTES and not self._is_swallowing:
                    self._changed.wait()
        return len(data)

    def swallow(self) -> None:
        """From now on take everything and write nothing, so that nobody waits."""
        with self._changed:
            self._is_swallowing = True
            self._queue.clear()
            self._queued_bytes = 0
            self._changed.notify_all()
        self._file.wake()

    def close(self) -> None:
        """Write what has been taken, and stop. The file stays open."""
        with self._changed:
            self._is_finishing = True
            self._changed.notify_all()
        self._thread.join()
        self._file.close()

    def _take(self, data: bytes) -> int:
        with self._changed:
            if self._is_swallowing:
                return len(data)
            taken = data[: MAX_QUEUED_BYTES - self._queued_bytes]
            if taken:
                self._queue.append(taken)
                self._queued_bytes += len(taken)
                self._changed.notify_all()
            self._has_refused = len(taken) < len(data)
            return len(taken)

    def _run(self) -> None:
        while (data := self._next()) is not None:
            is_written = self._write(data)
            with self._changed:
                self._queued_bytes = sum(map(len, self._queue))
                is_new = not is_written and not self._is_swallowing
                has_refused, self._has_refused = self._has_refused, False
                self._changed.notify_all()
            if not is_written:
                self.swallow()
            if is_new and self.on_broken is not None:
                self.on_broken()
            if has_refused:
                self.drain.resume()

    def _next(self) -> bytes | None:
        """The next piece; None when it is over."""
        with self._changed:
            while not self._queue and not self._is_finishing:
                self._changed.wait()
            return self._queue.popleft() if self._queue else None

    def _write(self, data: bytes) -> bool:
        """Whether all of it could be written."""
        rest = memoryview(data)
        while rest:
            if not self._file.wait(select.POLLOUT):
                return False
            try:
                rest = rest[os.write(self._file.fd, rest[:WRITE_BYTES]) :]
            except BlockingIOError:
                continue
            except OSError as error:
                self.error = error
                return False
        return True
