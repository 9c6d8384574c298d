"""A computer as a Python object: configure, start, wait, stop.

    with Machine(Configuration(kernel=Path("Image"), memory_bytes=1 << 30)) as machine:
        machine.start()
        ending = machine.wait()

A machine may reset itself any number of times: its files are read anew, its drives, network and
console go on. All of it runs on threads of its own; every method here may be called from any
other thread.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from maquina.boards.configuration import Configuration
from maquina.boards.ending import Ending, How
from maquina.boards.processors import Hart
from maquina.boards.virt import Board, MakeHarts
from maquina.errors import MaquinaError, UsageError
from maquina.machine.bus import AddressSpace
from maquina.machine.memory import GuestMemory


@dataclass(frozen=True)
class Statistics:
    """What a machine has done since it was started, over all resets."""

    instructions: int
    seconds: float
    boots: int
    exits: dict[str, int]  # why harts came back to the board, and how often


class Machine:
    """One configured computer. It is used once: after its end, make another."""

    def __init__(self, configuration: Configuration, make_harts: MakeHarts | None = None) -> None:
        """UsageError or HostError if it cannot be. `make_harts` is for processors of your own."""
        configuration.check()
        self.configuration = configuration
        self._make_harts = make_harts or self._make_own_harts
        self._lock = threading.Lock()
        self._board: Board | None = None
        self._thread: threading.Thread | None = None
        self._is_stopping = False
        self._ending: Ending | None = None
        self._over = threading.Event()
        self._started_at = 0.0
        self._ended_at = 0.0
        self.on_end: list[Callable[[], None]] = []  # called on the machine's thread
        self._boots = 0
        self._instructions = 0
        self._exits: Counter[str] = Counter()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    # -- its life ------------------------------------------------------------------------------

    def start(self) -> None:
        """Load everything and let the harts run. After a MaquinaError nothing has started."""
        if self._thread is not None:
            raise UsageError("this machine was started before", "make another")
        board = Board(self.configuration, self._make_harts)
        self._started_at = time.monotonic()
        self._board = board
        self._boots = 1
        self._thread = threading.Thread(target=self._live, args=(board,), name="machine")
        self._thread.start()

    def wait(self, timeout_s: float | None = None) -> Ending | None:
        """How it ended; None if it has not by then. Raises what went wrong if it failed."""
        if not self._over.wait(timeout_s):
            return None
        assert self._ending is not None
        if self._ending.error is not None:
            raise self._ending.error
        return self._ending

    def stop(self) -> None:
        """End it now, whatever it is doing, as pulling the plug does. Does not wait."""
        with self._lock:
            self._is_stopping = True
            if self._board is not None:
                self._board.end(Ending(How.STOPPED))

    def close(self) -> None:
        """Stop it and give back its threads and memory."""
        self.stop()
        if self._thread is not None:
            self._thread.join()

    @property
    def is_running(self) -> bool:
        return self._thread is not None and not self._over.is_set()

    def statistics(self) -> Statistics:
        """Counts so far. Those of a running hart lag behind a little."""
        with self._lock:
            instructions, exits = self._instructions, self._exits.copy()
            if self._board is not None:
                instructions += _instructions(self._board)
                exits += _exits(self._board)
        end = self._ended_at or time.monotonic()
        seconds = end - self._started_at if self._started_at else 0.0
        return Statistics(instructions, seconds, self._boots, dict(exits))

    # -- its thread ----------------------------------------------------------------------------

    def _live(self, board: Board) -> None:
        """Power cycles until one does not end in a reset."""
        ending = board.run()
        while ending.how is How.RESET and not self.configuration.is_reset_final:
            self._retire(board)
            try:
                board = Board(self.configuration, self._make_harts)
            except MaquinaError as error:
                ending = Ending(How.FAILED, error=error)
                break
            with self._lock:
                self._board = board
                self._boots += 1
                if self._is_stopping:
                    board.end(Ending(How.STOPPED))
            ending = board.run()
        self._retire(board)
        self._ended_at = time.monotonic()
        self._ending = ending
        self._over.set()
        for listener in self.on_end:
            listener()

    def _retire(self, board: Board) -> None:
        """Add up what the board has done, and forget it."""
        with self._lock:
            if self._board is board:
                self._instructions += _instructions(board)
                self._exits += _exits(board)
                self._board = None

    def _make_own_harts(
        self, memory: GuestMemory, bus: AddressSpace, clock_origin_ns: int
    ) -> Sequence[Hart]:
        from maquina.boards.harts import make_harts

        return make_harts(self.configuration, memory, bus, clock_origin_ns)


def _instructions(board: Board) -> int:
    return sum(one.hart.instructions for one in board.processors)


def _exits(board: Board) -> Counter[str]:
    total: Counter[str] = Counter()
    for one in board.processors:
        total.update({reason.name.lower(): count for reason, count in one.exits.items()})
    return total
