"""One thread that waits for sockets, timers and other threads.

Everything a network does happens on its loop's thread, so nothing in it needs a lock. Other
threads come in by three doors: `wake`, `submit` and `call`.

Waking up costs a system call only when the loop sleeps. The order makes that safe: the loop says
`_is_sleeping` before it looks for work a last time, the other thread leaves its work before it
asks whether the loop sleeps; so at least one of them sees the other.
"""

from __future__ import annotations

import heapq
import itertools
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

READABLE = select.EPOLLIN
WRITABLE = select.EPOLLOUT
FAILED = select.EPOLLERR | select.EPOLLHUP

# So many sockets are served before guest frames and timers get their turn again.
EVENTS_PER_ROUND = 64
SMALLEST_HEAP_LIMIT = 64


class Timer:
    """Calls `action` once, at a time that can be moved. Moving it later costs nothing."""

    __slots__ = ("action", "deadline", "entry")

    def __init__(self, action: Callable[[], None]) -> None:
        self.action = action
        self.deadline: float | None = None
        self.entry: float | None = None  # when the heap will look at it


class Work(Protocol):
    """What the loop does between waits."""

    def step(self) -> bool:
        """Do a bounded piece of work; True if more is waiting."""
        ...

    @property
    def has_work(self) -> bool:
        """Whether `step` would find something."""
        ...

    @property
    def is_blocked(self) -> bool:
        """Whether sockets must wait, because what they bring could not be delivered."""
        ...


class Loop:
    """Sockets, timers and calls from other threads, served by one thread."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._wake_only = select.poll()
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll.register(self._wake_fd, READABLE)
        self._wake_only.register(self._wake_fd, READABLE)
        self._wake_lock = threading.Lock()
        self._handlers: dict[int, Callable[[int], None]] = {}
        self._heap: list[tuple[float, int, Timer]] = []
        self._heap_limit = SMALLEST_HEAP_LIMIT
        self._order = itertools.count()
        self._calls: deque[Callable[[], None]] = deque()
        self._is_sleeping = False
        self._is_stopping = False
        self._is_closed = False
        self._thread: threading.Thread | None = None
        self.now = time.monotonic()

    # Doors for other threads

    def start(self, work: Work, name: str) -> None:
        """Begin to run on a thread of its own."""
        self._thread = threading.Thread(target=self._run, args=(work,), name=name, daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Make the loop look for work, if it sleeps."""
        if self._is_sleeping:
            with self._wake_lock:
                if not self._is_closed:
                    os.eventfd_write(self._wake_fd, 1)

    def submit(self, action: Callable[[], None]) -> None:
        """Have `action` done on the loop's thread, soon."""
        self._calls.append(action)
        self.wake()

    def call(self, action: Callable[[], None]) -> None:
        """Have `action` done on the loop's thread and wait for it."""
        if self._thread is None or self._thread is threading.current_thread():
            action()
            return
        done = threading.Event()

        def act() -> None:
            action()
            done.set()

        self.submit(act)
        while not done.wait(0.1):
            if not self._thread.is_alive():
                action()
                return

    def close(self) -> None:
        """End the thread, wait for it, and release what the loop holds."""
        self._is_stopping = True
        self.wake()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
        with self._wake_lock:
            if not self._is_closed:
                self._is_closed = True
                self._epoll.close()
                os.close(self._wake_fd)

    # For the loop's own thread

    def watch(self, fd: int, events: int, handler: Callable[[int], None]) -> None:
        """Call `handler` with what happened whenever one of `events`, or a failure, does."""
        if fd in self._handlers:
            self._epoll.modify(fd, events)
        else:
            self._epoll.register(fd, events)
        self._handlers[fd] = handler

    def forget(self, fd: int) -> None:
        """Watch `fd` no longer. To be called before it is closed."""
        if self._handlers.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def arm(self, timer: Timer, deadline: float | None) -> None:
        """Move `timer` to `deadline` (the loop's clock, seconds); None stops it."""
        timer.deadline = deadline
        if deadline is not None and (timer.entry is None or deadline < timer.entry):
            timer.entry = deadline
            heapq.heappush(self._heap, (deadline, next(self._order), timer))
            if len(self._heap) > self._heap_limit:
                self._compact()

    def _compact(self) -> None:
        """Drop entries of timers that were moved to an earlier time: a guest decides how often
        that happens, and each would stay until its old time."""
        self._heap = [entry for entry in self._heap if entry[2].entry == entry[0]]
        heapq.heapify(self._heap)
        self._heap_limit = max(2 * len(self._heap), SMALLEST_HEAP_LIMIT)

    def _run(self, work: Work) -> None:
        while not self._is_stopping:
            self.now = time.monotonic()
            is_busy = work.step()
            while self._calls:
                self._calls.popleft()()
            self._fire_timers()
            self._wait(work, is_busy)

    def _fire_timers(self) -> None:
        while self._heap and self._heap[0][0] <= self.now:
            at, _, timer = heapq.heappop(self._heap)
            if timer.entry != at:
                continue  # moved to an earlier time since, and looked at then
            timer.entry = None
            if timer.deadline is None:
                continue
            if timer.deadline > self.now:
                self.arm(timer, timer.deadline)
            else:
                timer.deadline = None
                timer.action()

    def _wait(self, work: Work, is_busy: bool) -> None:
        self._is_sleeping = True
        if is_busy or work.has_work or self._calls or self._is_stopping:
            timeout = 0.0
        elif self._heap:
            timeout = max(self._heap[0][0] - time.monotonic(), 0.0)
        else:
            timeout = -1.0
        if work.is_blocked:
            self._wake_only.poll(-1 if timeout < 0 else timeout * 1000)
            events = [(self._wake_fd, READABLE)]
        else:
            events = self._epoll.poll(timeout, EVENTS_PER_ROUND)
        self._is_sleeping = False
        self.now = time.monotonic()
        for fd, happened in events:
            if fd == self._wake_fd:
                self._clear_wake()
            elif handler := self._handlers.get(fd):
                # Undelivered frames queue up: the remaining sockets stay as they are, and epoll
                # will report them again.
                if work.is_blocked:
                    break
                handler(happened)

    def _clear_wake(self) -> None:
        try:
            os.eventfd_read(self._wake_fd)
        except BlockingIOError:
            return
