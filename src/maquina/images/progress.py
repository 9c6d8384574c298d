"""Telling a person how far a long piece of work is.

Whoever does the work calls a `Progress`; whoever asked for it decides what is drawn. `SILENT`
draws nothing. `on_terminal()` answers bars where there is a terminal, plain lines elsewhere.
"""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from threading import Lock
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID


class Task(Protocol):
    """One piece of work under way. `advance` may be called from any thread."""

    def advance(self, amount: int) -> None: ...


class Progress(Protocol):
    """Where work is reported. Tasks follow one another or overlap."""

    def task(self, label: str, total: int | None, unit: str = "B") -> AbstractContextManager[Task]:
        """Work of `total` units (None: nobody knows), done when the context ends."""
        ...

    def note(self, message: str) -> None:
        """Something to know that is no error: a wait, a fallback."""
        ...


class _Nothing:
    def advance(self, amount: int) -> None:
        pass


class Silent:
    """Progress that nobody watches."""

    def task(self, label: str, total: int | None, unit: str = "B") -> AbstractContextManager[Task]:
        del label, total, unit
        return nullcontext(_Nothing())

    def note(self, message: str) -> None:
        pass


SILENT = Silent()


class _Bar:
    """A line on the terminal, removed from the live display when its work ends."""

    def __init__(self, bars: Bars, task: TaskID) -> None:
        self._bars, self._task = bars, task

    def __enter__(self) -> _Bar:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bars.remove_task(self._task)

    def advance(self, amount: int) -> None:
        self._bars.advance(self._task, amount)


class RichProgress:
    """Bars on a terminal, drawn on standard error so that output can be redirected.

    Nothing is drawn before the first task: a run with everything cached stays silent. Use it as a
    context manager; leaving it clears the bars.
    """

    def __init__(self) -> None:
        self._bars: Bars | None = None
        self._starting = Lock()  # two pieces of work may begin at once

    def __enter__(self) -> RichProgress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bars is not None:
            self._bars.stop()

    def task(self, label: str, total: int | None, unit: str = "B") -> AbstractContextManager[Task]:
        bars = self._started()
        return _Bar(bars, bars.add_task(label, total=total, bytes=unit == "B"))

    def note(self, message: str) -> None:
        self._started().console.print(message, highlight=False, markup=False)

    def _started(self) -> Bars:
        with self._starting:
            if self._bars is None:
                self._bars = self._drawn()
            return self._bars

    def _drawn(self) -> Bars:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            Progress,
            TaskProgressColumn,
            TextColumn,
            TimeRemainingColumn,
        )

        bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeRemainingColumn(compact=True),
            console=Console(stderr=True),
            transient=True,
        )
        bars.start()
        return bars


class _Notes(Silent):
    """Without a terminal there are no bars, but a wait is still told."""

    def task(self, label: str, total: int | None, unit: str = "B") -> AbstractContextManager[Task]:
        if total is None:  # the longest waits are those of which nobody knows the end
            self.note(label)
        return super().task(label, total, unit)

    def note(self, message: str) -> None:
        print(message, file=sys.stderr)  # noqa: T201  a pipe's reader wants plain lines

    def __enter__(self) -> _Notes:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pass


def on_terminal() -> RichProgress | _Notes:
    """What a command shows: bars if standard error is a terminal, notes only if not."""
    return RichProgress() if sys.stderr.isatty() else _Notes()
