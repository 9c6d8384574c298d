from __future__ import annotations

import pytest

from maquina.errors import StateError
from maquina.machine.state import Fields, State


def test_fields_of_the_right_kind_and_range_are_taken() -> None:
    fields = Fields(
        {"n": 7, "on": True, "name": "a", "raw": b"xy", "list": [1, 2], "sub": {"n": 1}}, "thing"
    )
    assert fields.integer("n", 0, 7) == 7
    assert fields.flag("on")
    assert fields.text("name", 1) == "a"
    assert fields.data("raw", 2) == b"xy"
    assert fields.integers("list", 2, 0, 2) == [1, 2]
    assert fields.group("sub") == {"n": 1}


@pytest.mark.parametrize("value", [None, "x", -1, 8, True, b"y", [7]])
def test_a_number_must_be_one_and_in_range(value: State) -> None:
    with pytest.raises(StateError, match="saved state of thing does not fit: n"):
        Fields({"n": value}, "thing").integer("n", 0, 7)


@pytest.mark.parametrize("values", [[], [1], [1, 9], [1, True], [1, "2"], 12, None], ids=repr)
def test_numbers_must_be_as_many_and_in_range(values: State) -> None:
    with pytest.raises(StateError):
        Fields({"list": values}, "thing").integers("list", 2, 0, 8)


def test_bounds_on_lengths_hold() -> None:
    with pytest.raises(StateError):
        Fields({"raw": b"xyz"}, "thing").data("raw", 2)
    with pytest.raises(StateError):
        Fields({"name": "xyz"}, "thing").text("name", 2)
    with pytest.raises(StateError):
        Fields({"subs": [{}, 1]}, "thing").groups("subs", 2)
    with pytest.raises(StateError):
        Fields([], "thing")
