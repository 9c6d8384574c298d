from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from functools import partial

import pytest
from tests.net.fake_guest import wait_until

from maquina.net.fabric import IdleTable
from maquina.net.loop import READABLE, Loop, Timer


class Work:
    """Nothing to do between events, unless a test says so."""

    def __init__(self) -> None:
        self.steps = 0
        self.has_work = False
        self.is_blocked = False

    def step(self) -> bool:
        self.steps += 1
        self.has_work = False
        return False


@pytest.fixture
def work() -> Work:
    return Work()


@pytest.fixture
def loop(work: Work) -> Iterator[Loop]:
    loop = Loop()
    loop.start(work, "test loop")
    yield loop
    loop.close()


def test_calls_from_other_threads_run_on_the_loops(loop: Loop) -> None:
    names: list[str] = []
    loop.call(lambda: names.append(threading.current_thread().name))
    loop.call(lambda: loop.call(lambda: names.append("nested")))
    assert names == ["test loop", "nested"]


def test_timers_fire_once_and_at_their_last_deadline(loop: Loop) -> None:
    fired: list[str] = []
    early = Timer(lambda: fired.append("early"))
    late = Timer(lambda: fired.append("late"))
    never = Timer(lambda: fired.append("never"))

    def arm() -> None:
        loop.arm(early, loop.now + 0.05)
        loop.arm(late, loop.now + 0.02)
        loop.arm(late, loop.now + 0.1)
        loop.arm(early, loop.now + 0.03)
        loop.arm(never, loop.now + 0.02)
        loop.arm(never, None)

    loop.call(arm)
    wait_until(lambda: len(fired) >= 2)
    time.sleep(0.05)
    assert fired == ["early", "late"]


def test_moving_a_timer_to_and_fro_leaves_no_heap_of_old_entries() -> None:
    loop = Loop()
    timer = Timer(lambda: None)
    for _ in range(10_000):
        loop.arm(timer, loop.now + 600)
        loop.arm(timer, loop.now + 600 - 1e-9 * _)
    assert len(loop._heap) <= 128
    loop.close()


def test_sockets_wait_while_the_work_is_blocked(loop: Loop, work: Work) -> None:
    reader, writer = os.pipe()
    seen: list[bytes] = []
    try:
        work.is_blocked = True
        loop.call(lambda: loop.watch(reader, READABLE, lambda _: seen.append(os.read(reader, 9))))
        os.write(writer, b"x")
        time.sleep(0.05)
        assert seen == []
        work.is_blocked = False
        loop.wake()
        wait_until(lambda: seen == [b"x"])
        loop.call(lambda: loop.forget(reader))
    finally:
        os.close(reader)
        os.close(writer)


def test_an_event_that_blocks_the_work_stops_the_others(loop: Loop, work: Work) -> None:
    pipes = [os.pipe() for _ in range(3)]
    seen: list[int] = []

    def handle(reader: int, _happened: int) -> None:
        seen.append(reader)
        os.read(reader, 1)
        work.is_blocked = True

    def watch_all() -> None:
        for reader, writer in pipes:
            loop.watch(reader, READABLE, partial(handle, reader))
            os.write(writer, b"x")

    try:
        loop.call(watch_all)
        for count in (1, 2, 3):
            wait_until(lambda: bool(work.is_blocked))
            time.sleep(0.02)
            assert len(seen) == count
            work.is_blocked = False
            loop.wake()
        for reader, _ in pipes:
            loop.call(partial(loop.forget, reader))
    finally:
        for reader, writer in pipes:
            os.close(reader)
            os.close(writer)


def test_work_left_before_sleeping_is_never_missed(loop: Loop, work: Work) -> None:
    for _ in range(2000):
        work.has_work = True
        loop.wake()
        deadline = time.monotonic() + 5
        while work.has_work:
            assert time.monotonic() < deadline, "the loop sleeps over work"


def test_closing_twice_and_waking_afterwards_is_harmless(work: Work) -> None:
    loop = Loop()
    loop.start(work, "test loop")
    loop.close()
    loop.close()
    loop._is_sleeping = True
    loop.wake()
    loop.call(lambda: None)


class Idle:
    """A flow that counts its end."""

    closed = 0

    def __init__(self) -> None:
        self.last_used = 0.0

    def close(self) -> None:
        Idle.closed += 1


def test_idle_flows_end_and_the_least_used_gives_way(loop: Loop) -> None:
    Idle.closed = 0
    table: IdleTable[int, Idle] = IdleTable(loop, capacity=2, idle_s=0.1)

    def open_three() -> None:
        for key in (1, 2):
            table.open(key, Idle)
        table.use(1)
        table.open(3, Idle)
        table.open(4, lambda: None)

    loop.call(open_three)
    assert table.use(2) is None
    assert (len(table), Idle.closed) == (2, 1)
    wait_until(lambda: len(table) == 0)
    assert Idle.closed == 3
