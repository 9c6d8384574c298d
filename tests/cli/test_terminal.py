"""Raw mode and the escape key."""

from __future__ import annotations

import os
import pty
import signal
import termios
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maquina.cli.signals import Terminated, raising
from maquina.cli.terminal import Escapes, raw, size_of


@pytest.fixture
def terminal() -> Iterator[int]:
    ours, theirs = pty.openpty()
    yield theirs
    os.close(ours)
    os.close(theirs)


def test_raw_mode_is_undone(terminal: int) -> None:
    before = termios.tcgetattr(terminal)
    with raw(terminal):
        assert not termios.tcgetattr(terminal)[3] & termios.ISIG
    assert termios.tcgetattr(terminal) == before
    with pytest.raises(ZeroDivisionError), raw(terminal):
        raise ZeroDivisionError
    assert termios.tcgetattr(terminal) == before


def test_a_terminal_without_a_size(terminal: int) -> None:
    assert size_of(terminal) == (80, 24)


@pytest.mark.parametrize(
    ("typed", "sent", "leaves"),
    [
        (b"abc", b"abc", 0),
        (b"a\x01xb", b"a", 1),
        (b"\x01\x01", b"\x01", 0),
        (b"\x01k", b"\x01k", 0),
        (b"\x03\x04", b"\x03\x04", 0),
        (b"x\x01\x01x", b"x\x01x", 0),
    ],
)
def test_escape(typed: bytes, sent: bytes, leaves: int) -> None:
    left: list[bool] = []
    assert Escapes(lambda: left.append(True))(typed) == sent
    assert len(left) == leaves


@settings(derandomize=True)
@given(st.lists(st.sampled_from([b"\x01", b"a", b"b", b"\x03"])))
def test_keys_typed_one_by_one_or_at_once(keys: list[bytes]) -> None:
    """Invariant: how keys are bundled makes no difference."""
    slowly = Escapes(lambda: None)
    assert b"".join(map(slowly, keys)) == Escapes(lambda: None)(b"".join(keys))


def test_signals_unwind_once() -> None:
    handlers = [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGHUP)]
    undone = []
    with pytest.raises(Terminated) as caught, raising():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)
            undone.append(True)
    assert caught.value.status == 143
    assert undone
    assert [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGHUP)] == handlers
