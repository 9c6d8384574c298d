"""Arguments as words, read back by a real shell."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maquina.errors import UsageError
from maquina.guest.words import assignments, line, quote

ANY_BYTES = st.binary(min_size=0, max_size=40).filter(lambda data: b"\0" not in data)


def shell() -> list[str]:
    """A shell with $'...': the guest's own if this host has it, else bash."""
    busybox = shutil.which("busybox")
    if busybox:
        return [busybox, "sh"]
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("needs busybox or bash")
    return [bash]


def test_plain_words_stay_readable() -> None:
    assert line("start", "with_pipes", 1, "/usr/bin/env", "A=b c") == (
        b"start with_pipes 1 /usr/bin/env $'A\\075b\\040c'\n"
    )
    assert quote("") == b"$''"


@settings(derandomize=True, max_examples=60, deadline=None)
@given(st.lists(ANY_BYTES, min_size=1, max_size=6))
def test_a_shell_reads_back_any_words(words: list[bytes]) -> None:
    """Invariant: words of any bytes but NUL arrive as they were, on one line."""
    text = line("show", *words)
    assert text.count(b"\n") == 1
    script = b'show() { printf "%s\\0" "$@"; }\n' + text
    done = subprocess.run([*shell()], input=script, capture_output=True, check=True)
    assert done.stdout.split(b"\0")[:-1] == words


def test_nul_is_refused() -> None:
    with pytest.raises(UsageError, match="NUL"):
        quote("a\0b")


def test_variables() -> None:
    assert assignments({"A": "x y", "_b1": ""}) == ["A=x y", "_b1="]
    for name in ("", "1A", "A-B", "A B", "A=B", "é"):
        with pytest.raises(UsageError):
            assignments({name: "x"})
