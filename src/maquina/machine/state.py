"""Saving and restoring a component as plain data.

A saved state is untrusted when it comes back: `restore` checks every field and raises StateError,
leaving the component as it was. `Fields` does the checking:

    def restore(self, state: dict[str, State]) -> None:
        fields = Fields(state, "counter")
        count = fields.integer("count", 0, 0xFFFF)
        name = fields.text("name", 64)
        self.count, self.name = count, name  # nothing was changed until all was checked
"""

from __future__ import annotations

from typing import Protocol, TypeAlias, TypeVar

from maquina.errors import StateError

State: TypeAlias = "bool | int | str | bytes | list[State] | dict[str, State] | None"
T = TypeVar("T")


class Persist(Protocol):
    """A component whose state can be taken out and put back."""

    def save(self) -> dict[str, State]:
        """The whole state as plain data."""
        ...

    def restore(self, state: dict[str, State]) -> None:
        """Take over a saved state. StateError if a field is missing or cannot be."""
        ...


class Fields:
    """The fields of a saved state, each checked as it is taken; StateError names `owner`."""

    def __init__(self, state: object, owner: str) -> None:
        self._owner = owner
        if not isinstance(state, dict):
            raise StateError(f"the saved state of {owner} is not a set of fields")
        self._state = state

    def integer(self, name: str, low: int, high: int) -> int:
        """A number from `low` to `high`, both included."""
        value = self._of(name, int)
        if isinstance(value, bool) or not low <= value <= high:
            raise self.error(name, f"is not in {low} to {high}")
        return value

    def flag(self, name: str) -> bool:
        return self._of(name, bool)

    def text(self, name: str, limit: int) -> str:
        """A text of at most `limit` characters."""
        value = self._of(name, str)
        if len(value) > limit:
            raise self.error(name, f"is longer than {limit}")
        return value

    def data(self, name: str, limit: int) -> bytes:
        """At most `limit` bytes."""
        value = self._of(name, bytes)
        if len(value) > limit:
            raise self.error(name, f"is longer than {limit}")
        return value

    def integers(self, name: str, count: int, low: int, high: int) -> list[int]:
        """Exactly `count` numbers from `low` to `high`."""
        values = self.items(name, count, count)
        numbers = [value for value in values if type(value) is int and low <= value <= high]
        if len(numbers) != count:
            raise self.error(name, f"has a number that is not in {low} to {high}")
        return numbers

    def items(self, name: str, least: int, most: int) -> list[State]:
        """A list of `least` to `most` unchecked entries."""
        values = self._of(name, list)
        if not least <= len(values) <= most:
            raise self.error(name, f"has {len(values)} entries")
        return values

    def group(self, name: str) -> dict[str, State]:
        """A nested state, for its owner's `restore` or for `Fields`."""
        return self._of(name, dict)

    def groups(self, name: str, count: int) -> list[dict[str, State]]:
        """Exactly `count` nested states."""
        values = self.items(name, count, count)
        groups = [value for value in values if isinstance(value, dict)]
        if len(groups) != count:
            raise self.error(name, "has an entry of the wrong kind")
        return groups

    def error(self, name: str, complaint: str) -> StateError:
        """The error to raise about a field that only its owner can judge."""
        return StateError(f"the saved state of {self._owner} does not fit: {name} {complaint}")

    def _of(self, name: str, kind: type[T]) -> T:
        value = self._state.get(name)
        if not isinstance(value, kind):
            raise self.error(name, "is missing or of the wrong kind")
        return value
