"""Harts that are Python functions, for testing a board without a CPU.

A program is a generator: it runs on the hart's thread, yields whenever guest code would come back
to the board, and reads what it needs from its hart.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from maquina.boards.addresses import TIMEBASE_HZ
from maquina.machine.vcpu import Exit

SSIP = 1
A0, A6, A7 = 10, 16, 17
Program = Callable[["FakeHart"], Iterator[Exit]]


@dataclass
class FakeHart:
    """`program` is begun anew each time the board sets the program counter and runs."""

    program: Program
    x: list[int] = field(default_factory=lambda: [0] * 32)
    pc: int = 0
    privilege: int = 3
    instructions: int = 0
    csrs: dict[int, int] = field(default_factory=dict)
    pending: set[int] = field(default_factory=set)
    flushes: list[tuple[int | None, int | None, int | None] | str] = field(default_factory=list)
    is_running: bool = False
    deadline: float | None = None
    origin_ns: int = 0

    def __post_init__(self) -> None:
        self.stopped = threading.Event()
        self._woken = threading.Condition()
        self._begun_at: int | None = None
        self._steps: Iterator[Exit] = iter(())

    def run(self, limit: int) -> Exit:
        if self._begun_at != self.pc:
            self._begun_at = self.pc
            self._steps = self.program(self)
        self.is_running = True
        try:
            return self._execute()
        finally:
            self.is_running = False

    def _execute(self) -> Exit:
        for reason in self._steps:
            self.instructions += 1
            if reason is not Exit.LIMIT:
                return reason
            if self.stopped.is_set():
                self.stopped.clear()
                return Exit.STOPPED
        raise AssertionError("the program ended without stopping its hart")

    def stop(self) -> None:
        with self._woken:
            self.stopped.set()
            self._woken.notify_all()

    def wait(self, timeout_s: float | None) -> None:
        with self._woken:
            self._woken.wait_for(lambda: self.pending or self.stopped.is_set(), timeout_s)

    def set_timer(self, ticks: int) -> None:
        self.deadline = self.origin_ns / 1e9 + ticks / TIMEBASE_HZ

    def timer_deadline(self) -> float | None:
        return self.deadline

    def write_csr(self, number: int, value: int) -> None:
        self.csrs[number] = value

    def set_interrupt(self, bit: int, level: bool) -> None:
        with self._woken:
            (self.pending.add if level else self.pending.discard)(bit)
            self._woken.notify_all()

    def flush_tlb(self, address: int | None, size: int | None, asid: int | None) -> None:
        assert not self.is_running, "a TLB flushed under a running hart"
        self.flushes.append((address, size, asid))

    def fence_i(self) -> None:
        assert not self.is_running, "fence.i under a running hart"
        self.flushes.append("fence_i")


def sbi(hart: FakeHart, extension: int, function: int, *arguments: int) -> Iterator[Exit]:
    """An ecall; afterwards x10 and x11 have the answer."""
    hart.x[A0 : A0 + 6] = [*arguments, *[0] * (6 - len(arguments))]
    hart.x[A6], hart.x[A7] = function, extension
    yield Exit.CALL
