"""The host's side of the agent: commands in a guest, with their streams, signals and statuses.

The host writes lines to port 1, each a call of a function in `init.sh`:

    start with_pipes ID STDIN STDOUT STDERR DIRECTORY COUNT NAME=VALUE... PROGRAM ARGUMENT...
    start with_terminal ID TERMINAL DIRECTORY COUNT NAME=VALUE... PROGRAM ARGUMENT...
    load MODULE...
    network ADDRESS MASK GATEWAY NAME-SERVER
    hostname NAME
    signal -SIGNAL PID
    power_off

STDIN to STDERR are numbers of ports, 0 for none. The agent writes lines to port 2:

    ready
    pid ID PID         the command has begun; PID leads its session
    exit ID STATUS     it has ended: its status, or 128 and the signal

What the agent says is the guest's word: it is believed about its own commands and nothing else.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Protocol

from maquina.guest.ports import Drain, Feed, Lines, Lock
from maquina.guest.words import assignments, line
from maquina.machine.backends import PortBackend

TERMINAL, COMMANDS, REPORTS = 0, 1, 2  # numbers of ports, known to the guest
FIRST_STREAM = 3
MAX_PORTS = 16
DEFAULT_VARIABLES = {"HOME": "/root", "LANG": "C.UTF-8"}


class Console(Protocol):
    """The virtio console, as the agent uses it."""

    def resize(self, columns: int, rows: int) -> None: ...
    def add_port(self, name: str, backend: PortBackend, *, is_console: bool = False) -> int: ...

    def remove_port(self, number: int) -> None: ...


class Command:
    """A command in the guest, from `Agent.start` to its status."""

    def __init__(self, agent: Agent, number: int) -> None:
        self._agent = agent
        self.number = number
        self.ports: list[int] = []
        self.drains: list[Drain] = []
        self.pid: int | None = None
        self.status: int | None = None  # None while it runs, and if the machine ended before it
        self.ended = threading.Event()  # it has a status, or never will
        self.drained = threading.Event()  # nobody can write to its streams any more
        self._signals: list[str] = []

    def signal(self, name: str) -> None:
        """Send a signal ("INT") to the command and all that it started in its session."""
        with self._agent.lock:
            if self.pid is None:
                self._signals.append(name)
            elif self.status is None:
                self._agent.call("signal", f"-{name}", self.pid)

    def heard_pid(self, pid: int) -> None:
        """The agent has started it."""
        self.pid = pid
        signals, self._signals = self._signals, []
        for name in signals:
            self.signal(name)

    def heard_exit(self, status: int) -> None:
        """The agent has seen it end."""
        self.status = status
        self.ended.set()
        self.stream_closed()

    def watch(self, drains: Sequence[Drain]) -> None:
        """These are its output: `drained` waits for them."""
        self.drains = list(drains)
        for drain in drains:
            drain.on_close = self.stream_closed

    def stream_closed(self) -> None:
        """Look whether that was the last thing to wait for."""
        if self.ended.is_set() and all(drain.is_closed for drain in self.drains):
            self.drained.set()


class Agent:
    """Commands in one guest. `plug` gives it the console of each new boot."""

    def __init__(self, lock: Lock) -> None:
        """`lock` is the machine's."""
        self.lock = lock
        self.is_ready = threading.Event()
        self._console: Console | None = None
        self._size: tuple[int, int] | None = None
        self._before: list[bytes] = []
        self._feed: Feed | None = None
        self._commands: dict[int, Command] = {}
        self._last = 0

    def plug(self, console: Console, terminal: PortBackend) -> None:
        """Take the ports that the agent and the guest's terminal have; before the guest starts."""
        self._console = console
        if self._size is not None:
            console.resize(*self._size)
        self._feed = Feed(self.lock)
        drain = Drain(Lines(self._hear))
        backends = ((terminal, True), (self._feed, False), (drain, False))
        for expected, (backend, is_console) in enumerate(backends):
            number = console.add_port(f"maquina.{expected}", backend, is_console=is_console)
            if number != expected:
                raise ValueError(f"port {expected} of the console was in use")
        for data in self._before:
            self._feed.send(data)

    def call(self, *words: str | bytes | int) -> None:
        """Have the agent call one of its functions."""
        data = line(*words)
        with self.lock:
            if self._feed is None:
                self._before.append(data)
            else:
                self._feed.send(data)

    def start(
        self,
        argv: Sequence[str],
        streams: tuple[Feed | None, Drain | None, Drain | None],
        *,
        directory: str = "/",
        variables: dict[str, str] | None = None,
    ) -> Command:
        """Run a command with pipes for standard input, output and error, each None for none."""
        with self.lock:
            command = self._new_command()
            numbers = [self._add_stream(command, backend) for backend in streams]
            command.watch([drain for drain in streams[1:] if drain is not None])
            words = _words(argv, directory, variables)
            self.call("start", "with_pipes", command.number, *numbers, *words)
            return command

    def start_on_terminal(
        self,
        argv: Sequence[str],
        terminal: str = "hvc0",
        *,
        directory: str = "/",
        variables: dict[str, str] | None = None,
    ) -> Command:
        """Run a command on one of the guest's terminals."""
        with self.lock:
            command = self._new_command()
            words = _words(argv, directory, variables)
            self.call("start", "with_terminal", command.number, terminal, *words)
            return command

    def resize(self, columns: int, rows: int) -> None:
        """The terminals have another size now."""
        with self.lock:
            self._size = (columns, rows)
            if self._console is not None:
                self._console.resize(columns, rows)

    def forget(self, command: Command) -> None:
        """Give a command's ports back."""
        with self.lock:
            self._commands.pop(command.number, None)
            while command.ports and self._console is not None:
                self._console.remove_port(command.ports.pop())

    def hang_up(self) -> None:
        """The machine is over: no command will have a status that has none yet."""
        with self.lock:
            for command in self._commands.values():
                command.ended.set()
                command.drained.set()

    def _add_stream(self, command: Command, backend: Feed | Drain | None) -> int:
        """The number of a new port for it, 0 for none."""
        if backend is None:
            return 0
        assert self._console is not None, "a command on a machine that was not plugged"
        number = self._console.add_port(f"command {command.number}", backend)
        command.ports.append(number)
        return number

    def _new_command(self) -> Command:
        self._last += 1
        command = Command(self, self._last)
        self._commands[command.number] = command
        return command

    def _hear(self, report: bytes) -> None:
        """One line of the agent; what makes no sense is ignored."""
        word, *arguments = report.split(b" ")
        if word == b"ready":
            self.is_ready.set()
        if len(arguments) != 2 or not all(argument.isdigit() for argument in arguments):
            return
        number, value = map(int, arguments)
        command = self._commands.get(number)
        if command is None or command.ended.is_set():
            return
        if word == b"pid" and command.pid is None and value > 1:
            command.heard_pid(value)
        elif word == b"exit":
            command.heard_exit(value & 0xFF)


def _words(argv: Sequence[str], directory: str, variables: dict[str, str] | None) -> list[str]:
    every = assignments(DEFAULT_VARIABLES | (variables or {}))
    return [directory, str(len(every)), *every, *argv]
