"""Harts on threads of their own: running, idling, asking one another for things, ending.

Each hart has one thread, which alone calls `run`. Others reach a hart by a request, which the
thread serves between two runs; while a thread is parked (its hart is stopped or waits for an
interrupt) whoever has the request serves it directly, so that sleeping harts are left asleep.

`Processors.changed` guards requests, power states and the end. Requests are short and take no
other lock. A thread that waits for others serves its own requests meanwhile: two harts may ask
each other at the same time.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from maquina.boards.sbi import calls
from maquina.boards.sbi.calls import PowerState
from maquina.machine.vcpu import Exit

SLICE = 1 << 40  # instructions in a run: it ends by `stop` long before
A0, A1, A2 = 10, 11, 12
SUPERVISOR_MODE = 1
SATP, SSTATUS = 0x180, 0x100


class Hart(calls.Hart, Protocol):
    """What the board needs of a hart besides what SBI does."""

    pc: int
    privilege: int

    def run(self, limit: int, /) -> Exit: ...

    def stop(self) -> None:
        """Make the present or else the next `run` or `wait` return. Any thread may call it."""
        ...

    def wait(self, timeout_s: float | None, /) -> None:
        """Return when an interrupt is pending, or after `stop`, or when the time is over."""
        ...

    def set_timer(self, ticks: int, /) -> None:
        """mtimecmp: interrupt M-mode when `time` reaches this."""
        ...

    def timer_deadline(self) -> float | None:
        """When the timer will interrupt, in seconds of `time.monotonic`."""
        ...

    @property
    def instructions(self) -> int: ...


@dataclass
class Request:
    """Something to do on several harts, and how many have yet to do it."""

    action: Callable[[calls.Hart], None]
    pending: int = 0


class Processor:
    """One hart: its power state, its requests, its thread's loop."""

    def __init__(self, hart_id: int, hart: Hart, group: Processors) -> None:
        self.hart_id = hart_id
        self.hart = hart
        self.power = PowerState.STOPPED
        self.exits: Counter[Exit] = Counter()
        self._group = group
        self._requests: list[Request] = []
        self._is_parked = True
        self._is_suspending = False

    # -- what SBI asks for ---------------------------------------------------------------------

    def enter(self, address: int, opaque: int) -> None:
        """Begin in S-mode with address translation and interrupts off (SBI 2.0, table 8)."""
        self.hart.write_csr(SATP, 0)
        self.hart.write_csr(SSTATUS, 0)
        self.hart.flush_tlb(None, None, None)
        self.begin(SUPERVISOR_MODE, address, (self.hart_id, opaque))

    def begin(self, privilege: int, address: int, arguments: Sequence[int]) -> None:
        """Start executing at `address` with the arguments in a0 and up."""
        self.hart.privilege = privilege
        self.hart.pc = address
        for index, argument in enumerate(arguments):
            self.hart.x[A0 + index] = argument
        with self._group.changed:
            self.power = PowerState.STARTED
            self._group.changed.notify_all()

    def halt(self) -> None:
        self.power = PowerState.STOPPED

    def suspend(self) -> None:
        self._is_suspending = True

    # -- requests; `changed` is held -----------------------------------------------------------

    def post(self, request: Request) -> None:
        """Have a request served: at once if the hart is parked, else soon."""
        request.pending += 1
        self._requests.append(request)
        if self._is_parked:
            self.serve()
        else:
            self.hart.stop()

    def serve(self) -> None:
        """Do what was asked for. The hart does not execute meanwhile."""
        for request in self._requests:
            request.action(self.hart)
            request.pending -= 1
        if self._requests:
            self._requests.clear()
            self._group.changed.notify_all()

    # -- the thread ----------------------------------------------------------------------------

    def loop(self) -> None:
        """Execute until the group ends."""
        while self._await_turn():
            reason = self.hart.run(SLICE)
            self.exits[reason] += 1
            if reason is Exit.CALL:
                self._group.on_call(self)
            if reason is Exit.IDLE or self._is_suspending:
                self._idle()

    def _await_turn(self) -> bool:
        """Serve requests and wait while the hart is stopped; False when it is over."""
        changed = self._group.changed
        with changed:
            self.serve()
            while self.power is PowerState.STOPPED and not self._group.is_over:
                self._is_parked = True
                changed.wait()
            self._is_parked = False
            return not self._group.is_over

    def _idle(self) -> None:
        with self._group.changed:
            self.serve()
            if self._group.is_over:
                return
            if self._is_suspending:
                self.power = PowerState.SUSPENDED
            self._is_parked = True
        deadline = self.hart.timer_deadline()
        self.hart.wait(None if deadline is None else max(0.0, deadline - time.monotonic()))
        with self._group.changed:
            self._is_parked = False
            if self._is_suspending:
                self.power, self._is_suspending = PowerState.STARTED, False


class Processors:
    """All harts of a board. `on_call` answers SBI calls, `on_error` hears of a thread's death."""

    def __init__(
        self,
        harts: Sequence[Hart],
        on_call: Callable[[Processor], None],
        on_error: Callable[[Exception], None],
    ) -> None:
        self.changed = threading.Condition()
        self.is_over = False
        self.on_call = on_call
        self._on_error = on_error
        self.harts = harts  # the sequence may own what its harts share
        self.all = [Processor(number, hart, self) for number, hart in enumerate(harts)]
        self._threads = [
            threading.Thread(target=self._run, args=(one,), name=f"hart {one.hart_id}")
            for one in self.all
        ]

    def start(self) -> None:
        """Start the threads; harts that nobody began yet wait for it."""
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """Make all threads finish. Any thread may call it, also a hart's."""
        with self.changed:
            self.is_over = True
            self.changed.notify_all()
        for one in self.all:
            one.hart.stop()

    def join(self) -> None:
        """Wait until the threads have finished."""
        for thread in self._threads:
            thread.join()

    def on_harts(
        self,
        caller: calls.Processor,
        targets: Sequence[calls.Processor],
        action: Callable[[calls.Hart], None],
    ) -> None:
        """Do `action` on each target, the caller's own included; return when all have."""
        request = Request(action)
        with self.changed:
            for target in targets:
                if target is caller:
                    action(target.hart)
                else:
                    self.all[target.hart_id].post(request)
            while request.pending and not self.is_over:
                self.all[caller.hart_id].serve()
                if request.pending:
                    self.changed.wait()

    def _run(self, processor: Processor) -> None:
        try:
            processor.loop()
        except Exception as error:
            self._on_error(error)
