"""Signals that end a run, as exceptions: everything is undone on the way out."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

ENDING = (signal.SIGTERM, signal.SIGHUP)


class Terminated(BaseException):
    """SIGTERM or SIGHUP has come; `status` is what a shell would say."""

    def __init__(self, number: int) -> None:
        self.status = 128 + number


@contextlib.contextmanager
def raising() -> Iterator[None]:
    """Inside the block, signals that end a process raise Terminated; the first one only."""

    def handle(number: int, _: FrameType | None) -> None:
        for each in ENDING:
            signal.signal(each, signal.SIG_IGN)
        raise Terminated(number)

    before = {each: signal.signal(each, handle) for each in ENDING}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
