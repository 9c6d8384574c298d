"""The host's side of the agent, with a guest that is this test."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.guest.consoles import FakeConsole, FakePort

from maquina.errors import UsageError
from maquina.guest.agent import COMMANDS, REPORTS, Agent, Command
from maquina.guest.ports import MAX_LINE, Drain, Feed, Terminal


class Guest:
    """An agent plugged into a console, and the guest's end of its ports."""

    def __init__(self) -> None:
        self.console = FakeConsole()
        self.agent = Agent(self.console.lock)
        self.agent.plug(self.console, Terminal(Feed(self.console.lock), len))
        self.output = bytearray()

    def port(self, number: int) -> FakePort:
        return self.console.ports[number]

    def boot(self) -> None:
        self.port(COMMANDS).open()
        self.port(REPORTS).open()
        self.report(b"ready\n")

    def report(self, data: bytes) -> None:
        assert self.port(REPORTS).backend.write(data) == len(data)

    def heard(self) -> list[bytes]:
        return bytes(self.port(COMMANDS).received).splitlines()

    def start(self, *argv: str) -> Command:
        drains = [Drain(self._take), Drain(len)]
        return self.agent.start(argv, (Feed(self.console.lock), drains[0], drains[1]))

    def _take(self, data: bytes) -> int:
        self.output += data
        return len(data)


@pytest.fixture
def guest() -> Guest:
    return Guest()


def test_a_command_from_start_to_status(guest: Guest) -> None:
    command = guest.start("sh", "-c", "echo hi")
    assert guest.heard() == [], "the guest is not there yet"
    guest.boot()
    (heard,) = guest.heard()
    assert heard == (
        b"start with_pipes 1 3 4 5 / 2 $'HOME\\075\\057root' $'LANG\\075C\\056UTF\\0558'"
        b" sh -c $'echo\\040hi'"
    )
    guest.report(b"pid 1 97\n")
    for number in (3, 4, 5):
        guest.port(number).open()
    guest.port(4).backend.write(b"hi\n")
    guest.report(b"exit 1 3\n")
    assert (command.pid, command.status) == (97, 3)
    assert command.ended.is_set()
    assert not command.drained.is_set()
    guest.port(4).open(False)
    guest.port(5).open(False)
    assert command.drained.is_set()
    assert guest.output == b"hi\n"
    guest.agent.forget(command)
    assert sorted(guest.console.ports) == [0, 1, 2]


def test_several_commands_have_streams_of_their_own(guest: Guest) -> None:
    guest.boot()
    first, second = guest.start("a"), guest.start("b")
    assert (first.ports, second.ports) == ([3, 4, 5], [6, 7, 8])
    guest.report(b"exit 2 0\nexit 1 1\n")
    assert (first.status, second.status) == (1, 0)


def test_signals_wait_for_the_pid(guest: Guest) -> None:
    guest.boot()
    command = guest.start("sleep", "9")
    command.signal("INT")
    assert len(guest.heard()) == 1
    guest.report(b"pid 1 97\n")
    command.signal("TERM")
    assert guest.heard()[1:] == [b"signal -INT 97", b"signal -TERM 97"]
    guest.report(b"exit 1 130\n")
    command.signal("KILL")
    assert len(guest.heard()) == 3


def test_the_terminal_has_a_size_from_the_start() -> None:
    console = FakeConsole()
    agent = Agent(console.lock)
    agent.resize(100, 40)
    agent.plug(console, Terminal(Feed(console.lock), len))
    assert console.size == (100, 40)
    command = agent.start_on_terminal([], variables={"TERM": "xterm"})
    console.ports[COMMANDS].open()
    assert b"with_terminal 1 hvc0" in console.ports[COMMANDS].received
    agent.hang_up()
    assert command.ended.is_set()
    assert command.status is None


def test_bad_variables_start_nothing(guest: Guest) -> None:
    guest.boot()
    with pytest.raises(UsageError):
        guest.agent.start(["true"], (None, None, None), variables={"A;reboot": ""})
    assert guest.heard() == []


PIECES = [b"exit 1 ", b"pid 1 ", b"\n", b"9" * 300]


@settings(derandomize=True, max_examples=300)
@given(
    st.lists(st.binary(max_size=60) | st.sampled_from([b"exit 1 ", b"pid 1 ", b"\n", b"9" * 300]))
)
def test_hostile_reports(pieces: list[bytes]) -> None:
    """Invariant: whatever a guest reports, nothing is raised and little is kept."""
    guest = Guest()
    guest.boot()
    command = guest.start("true")
    for piece in pieces:
        guest.report(piece)
    assert command.status is None or 0 <= command.status <= 255
    assert len(guest.heard()) == 1


def test_lines_without_end_are_not_kept(guest: Guest) -> None:
    guest.boot()
    command = guest.start("true")
    for _ in range(1000):
        guest.report(b"x" * MAX_LINE)
    guest.report(b"\nexit 1 0\n")
    assert command.status == 0
