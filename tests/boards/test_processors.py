"""Hart threads: starting, idling, asking each other, ending; no thread is ever left behind."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
from tests.boards.fake_harts import FakeHart

from maquina.boards.processors import Processor, Processors
from maquina.boards.sbi.calls import PowerState
from maquina.machine.vcpu import Exit

TIMEOUT_S = 10


def spin(hart: FakeHart) -> Iterator[Exit]:
    while True:
        time.sleep(0.0001)
        yield Exit.LIMIT


def sleep(hart: FakeHart) -> Iterator[Exit]:
    while True:
        yield Exit.IDLE


def ignore(_: Processor) -> None:
    pass


def fail(error: Exception) -> None:
    raise error


def power(processors: Processors) -> PowerState:
    return processors.all[0].power


def finish(processors: Processors) -> None:
    processors.end()
    joiner = threading.Thread(target=processors.join, daemon=True)
    joiner.start()
    joiner.join(TIMEOUT_S)
    assert not joiner.is_alive(), "a hart's thread did not end"


@pytest.mark.parametrize("program", [spin, sleep])
def test_ends_from_every_state(program) -> None:  # type: ignore[no-untyped-def]
    processors = Processors([FakeHart(program), FakeHart(program)], ignore, fail)
    processors.start()
    processors.all[0].begin(1, 0x100, (0, 0))
    time.sleep(0.02)
    finish(processors)
    assert processors.all[1].hart.instructions == 0


def test_begin_sets_the_registers() -> None:
    processors = Processors([FakeHart(sleep)], ignore, fail)
    processors.all[0].begin(3, 0x8000_0000, (0, 0x1234, 0x5678))
    hart = processors.all[0].hart
    assert (hart.privilege, hart.pc, hart.x[10:13]) == (3, 0x8000_0000, [0, 0x1234, 0x5678])


def test_idle_ends_with_an_interrupt_or_the_timer() -> None:
    hart = FakeHart(sleep)
    processors = Processors([hart], ignore, fail)
    processors.all[0].begin(1, 0x100, ())
    hart.deadline = time.monotonic() + 0.05
    processors.start()
    try:
        deadline = time.monotonic() + TIMEOUT_S
        while processors.all[0].exits[Exit.IDLE] < 2:
            assert time.monotonic() < deadline
            time.sleep(0.005)
    finally:
        finish(processors)


def test_harts_ask_each_other_at_the_same_time() -> None:
    """Four running harts fence each other as fast as they can; idle and stopped ones as well."""
    rounds = 200

    def ask(hart: FakeHart) -> Iterator[Exit]:
        for _ in range(rounds):
            yield Exit.LIMIT
            yield Exit.CALL
        finished.release()
        yield from sleep(hart)

    def on_call(caller: Processor) -> None:
        processors.on_harts(caller, processors.all, lambda hart: hart.fence_i())

    finished = threading.Semaphore(0)
    harts = [FakeHart(ask) for _ in range(4)] + [FakeHart(sleep), FakeHart(spin)]
    processors = Processors(harts, on_call, fail)
    processors.start()
    for one in processors.all[:5]:
        one.begin(1, 0x100, ())
    try:
        for _ in range(4):
            assert finished.acquire(timeout=TIMEOUT_S), "two harts wait for each other"
    finally:
        finish(processors)
    assert [len(hart.flushes) for hart in harts] == [4 * rounds] * 6


def test_end_while_a_hart_waits_for_another() -> None:
    def stuck(hart: FakeHart) -> Iterator[Exit]:
        released.wait(TIMEOUT_S)
        yield from spin(hart)

    def call(hart: FakeHart) -> Iterator[Exit]:
        yield Exit.CALL
        yield from spin(hart)

    released = threading.Event()
    called = threading.Event()

    def on_call(caller: Processor) -> None:
        called.set()
        processors.on_harts(caller, processors.all, lambda hart: hart.fence_i())

    processors = Processors([FakeHart(call), FakeHart(stuck)], on_call, fail)
    processors.start()
    for one in processors.all:
        one.begin(1, 0x100, ())
    assert called.wait(TIMEOUT_S)
    threading.Timer(0.05, released.set).start()
    finish(processors)


def test_a_stopped_hart_can_be_entered_again() -> None:
    entered: list[tuple[int, int]] = []

    def once(hart: FakeHart) -> Iterator[Exit]:
        entered.append((hart.pc, hart.x[11]))
        yield Exit.CALL
        yield from spin(hart)

    def on_call(caller: Processor) -> None:
        caller.halt()
        stopped.release()

    stopped = threading.Semaphore(0)
    processors = Processors([FakeHart(once)], on_call, fail)
    processors.start()
    try:
        for address in (0x1000, 0x2000):
            processors.all[0].enter(address, address + 1)
            assert stopped.acquire(timeout=TIMEOUT_S)
            assert power(processors) is PowerState.STOPPED
    finally:
        finish(processors)
    assert entered == [(0x1000, 0x1001), (0x2000, 0x2001)]


def test_suspend_waits_for_an_interrupt() -> None:
    def program(hart: FakeHart) -> Iterator[Exit]:
        yield Exit.CALL
        resumed.set()
        yield from spin(hart)

    resumed = threading.Event()
    processors = Processors([FakeHart(program)], Processor.suspend, fail)
    processors.start()
    processors.all[0].begin(1, 0x100, ())
    try:
        assert not resumed.wait(0.05)
        assert power(processors) is PowerState.SUSPENDED
        processors.all[0].hart.set_interrupt(1, True)
        assert resumed.wait(TIMEOUT_S)
        assert power(processors) is PowerState.STARTED
    finally:
        finish(processors)


def test_a_bug_on_a_hart_thread_is_reported() -> None:
    def broken(hart: FakeHart) -> Iterator[Exit]:
        yield [Exit.LIMIT][1 // (hart.pc - 0x100)]

    errors: list[Exception] = []
    processors = Processors([FakeHart(broken)], ignore, errors.append)
    processors.start()
    processors.all[0].begin(1, 0x100, ())
    processors.join()
    assert [type(error) for error in errors] == [ZeroDivisionError]
