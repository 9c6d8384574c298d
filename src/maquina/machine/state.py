"""Saving and restoring a component as plain data.

A saved state is untrusted when it comes back: `restore` checks every field and raises StateError,
leaving the component as it was.
"""

from __future__ import annotations

from typing import Protocol, TypeAlias

State: TypeAlias = "bool | int | str | bytes | list[State] | dict[str, State] | None"


class Persist(Protocol):
    """A component whose state can be taken out and put back."""

    def save(self) -> dict[str, State]:
        """The whole state as plain data."""
        ...

    def restore(self, state: dict[str, State]) -> None:
        """Take over a saved state. StateError if a field is missing or cannot be."""
        ...
