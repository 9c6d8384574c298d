"""What an upper is to keep it keeps, however its process ends; strange ones are refused."""

from __future__ import annotations

import errno
import os
import random
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from tests.storage.layers.stack_pair import Pair, on_host, outcome, read, seen, unpack

from maquina.errors import FormatError, HostError, MaquinaError, StateError
from maquina.storage.layers import journal as journals
from maquina.storage.layers.layer import Layer
from maquina.storage.layers.stack import Stack
from maquina.storage.layers.upper import Frozen, Upper


def test_a_journal_cut_anywhere_is_a_state_there_was(layer: Layer, tmp_path: Path) -> None:
    host, kept, journal = tmp_path / "host", tmp_path / "kept", tmp_path / "kept" / "journal"
    host.mkdir()
    names: list[set[str]] = []
    choose = random.Random(5)
    with Stack([layer], Upper.open(kept)) as stack:
        unpack(stack, host)
        pair = Pair(stack, host)
        names.append(set(seen(stack)))
        for _ in range(500):
            pair.step(choose)
            if set(seen(stack)) != names[-1]:
                names.append(set(seen(stack)))
        whole = journal.read_bytes()
    reached = set()
    for size in [*range(0, len(whole), 131), len(whole)]:
        journal.write_bytes(whole[:size])
        with Stack([layer], Upper.open(kept)) as stack:
            found = set(seen(stack))
            assert found in names, f"cut at {size}"
            reached.add(names.index(found))
            stack.create(1, b"after the cut", stat.S_IFREG | 0o644, (0, 0))
        with Stack([layer], Upper.open(kept)) as stack:
            assert set(seen(stack)) == {*found, "after the cut"}
    assert len(reached) > len(names) // 2 > 10


@pytest.mark.parametrize("kept", [True, False])
def test_frozen_uppers_are_ground_for_new_ones(layer: Layer, tmp_path: Path, kept: bool) -> None:
    choose, host = random.Random(3), tmp_path / "host"
    host.mkdir()
    first = Upper.open(tmp_path / "kept") if kept else Upper.temporary(tmp_path)
    with Stack([layer], first) as stack:
        unpack(stack, host)
        pair = Pair(stack, host)
        for _ in range(200):
            pair.step(choose)
        numbers = {path: stack.find(path).ino for path in seen(stack)}
        then = seen(stack)
        stack.freeze(tmp_path / "frozen", Upper.temporary(tmp_path))
        assert seen(stack) == then
        for _ in range(200):
            pair.step(choose)
        now = seen(stack)
        assert now == on_host(host) != then
        frozen = Frozen(tmp_path / "frozen")
        with Stack([layer], Upper.open(tmp_path / "twin"), [frozen]) as twin:
            assert seen(twin) == then
            assert {path: twin.find(path).ino for path in then} == numbers
            twin.freeze(tmp_path / "second", Upper.temporary(tmp_path))
        pair.chmod("a", 0o700)
    grounds = [Frozen(tmp_path / "frozen"), Frozen(tmp_path / "second")]
    with Stack([layer], Upper.temporary(tmp_path), grounds) as stack:
        assert seen(stack) == then


def test_an_overgrown_journal_is_rewritten(
    layer: Layer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("maquina.storage.layers.journal.COMPACT_FROM", 10_000)
    with Stack([layer], Upper.open(tmp_path / "kept")) as stack:
        for turn in range(1000):
            ino = stack.create(1, b"n%d" % turn, stat.S_IFREG | 0o644, (0, 0)).ino
            stack.write_from(ino, 0, [memoryview(b"%d" % turn)])
            stack.set_xattr(ino, b"user.turn", b"%d" % turn, 0)
            if turn >= 5:
                stack.forget(stack.remove(1, b"n%d" % (turn - 5), False))
        result = seen(stack)
    assert (tmp_path / "kept" / "journal").stat().st_size < 20_000
    with Stack([layer], Upper.open(tmp_path / "kept")) as stack:
        assert seen(stack) == result
        assert stack.xattrs(stack.find("n999").ino) == {b"user.turn": b"999"}
        assert len(list((tmp_path / "kept" / "contents").iterdir())) == 5


def test_an_upper_has_one_owner_and_one_ground(layer: Layer, tmp_path: Path) -> None:
    with Stack([layer], Upper.open(tmp_path / "kept")):
        with pytest.raises(HostError, match="in use"):
            Upper.open(tmp_path / "kept")
        with pytest.raises(HostError):
            Frozen(tmp_path / "kept")
    upper = Upper.open(tmp_path / "kept")
    with pytest.raises(StateError):
        Stack([], upper)
    upper.close()
    (tmp_path / "kept" / "journal").write_bytes(b"something else")
    upper = Upper.open(tmp_path / "kept")
    with pytest.raises(FormatError):
        Stack([layer], upper)
    upper.close()


def test_a_full_host_refuses_before_anything_changes(
    layer: Layer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(fd: int, mode: int, offset: int, length: int) -> None:
        raise OSError(errno.ENOSPC, "full")

    with Stack([layer], Upper.open(tmp_path / "kept")) as stack:
        before = seen(stack)
        with monkeypatch.context() as patch:
            patch.setattr("maquina.storage.layers.journal.allocate", full)
            stack._table.upper.journal._reserved = 0  # type: ignore[union-attr]
            pair = Pair(stack, tmp_path)
            assert outcome(lambda: stack.rename((1, b"a"), (1, b"z"), 0)) == errno.ENOSPC
            assert outcome(lambda: stack.remove(1, b"c", False)) == errno.ENOSPC
            assert outcome(lambda: stack.create(1, b"n", stat.S_IFREG, (0, 0))) == errno.ENOSPC
            assert outcome(lambda: stack.link(stack.find("c").ino, 1, b"d")) == errno.ENOSPC
            assert pair.chmod("a", 0o123)[0] == errno.ENOSPC
            assert seen(stack) == before
        stack.rename((1, b"a"), (1, b"z"), 0)
    with Stack([layer], Upper.open(tmp_path / "kept")) as stack:
        assert "z/c/a" in seen(stack)


CHILD = """
import stat, sys
from maquina.storage.layers.layer import Layer
from maquina.storage.layers.stack import Stack
from maquina.storage.layers.upper import Upper
stack = Stack([Layer.open(sys.argv[1])], Upper.open(sys.argv[2]))
for turn in range(1_000_000):
    ino = stack.create(1, b"new", stat.S_IFREG | 0o644, (turn, 0)).ino
    stack.write_from(ino, 0, [memoryview(b"%d" % turn)])
    stack.forget(stack.rename((1, b"new"), (1, b"n%d" % (turn % 50)), 0))
    print(turn, flush=True)
"""


@pytest.mark.parametrize("count", [1, 70, 400])
def test_a_killed_process_loses_nothing_it_has_told_of(
    layer: Layer, tmp_path: Path, count: int
) -> None:
    command = [sys.executable, "-c", CHILD, str(layer.path), str(tmp_path / "kept")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as child:
        assert child.stdout is not None
        last = [int(child.stdout.readline()) for _ in range(count)][-1]
        child.kill()
    with Stack([layer], Upper.open(tmp_path / "kept")) as stack:
        for turn in range(max(0, last - 49), last + 1):
            inode = stack.find(f"n{turn % 50}")
            assert inode.uid >= turn
            assert read(stack, f"n{turn % 50}") == b"%d" % inode.uid
        assert {"a/c/a", "b/b", "suid"} <= set(seen(stack))


@pytest.mark.parametrize("seed", range(30))
def test_fuzz_frozen(layer: Layer, tmp_path: Path, seed: int) -> None:
    """A frozen upper from elsewhere is refused, or a tree of which only OSError comes."""
    choose = random.Random(seed)
    with Stack([layer], Upper.temporary(tmp_path)) as stack:
        pair = Pair(stack, tmp_path / "none")
        for path in ("d", "d/e", "d/e/f", "a/d"):
            pair.create(path, directory=True)
        stack.set_xattr(stack.find("a/a").ino, b"user.x", b"value", 0)
        stack.rename((1, b"b"), pair.place("d/e/b"), 0)
        pair.write("a/a", 10, b"data")
        stack.freeze(tmp_path / "frozen", Upper.temporary(tmp_path))
    journal = tmp_path / "frozen" / "journal"
    changes = [change for _, change in journals.read(journal.read_bytes(), journal)]
    for _ in range(choose.randrange(1, 6)):
        at = choose.randrange(1, len(changes))
        body = bytearray(changes[at].body)
        if body:
            body[choose.randrange(len(body))] = choose.choice([0, 1, 2, 3, 5, 64, 128, 255])
        kind = choose.choice([changes[at].kind] * 6 + [choose.randrange(9)])
        ino = choose.choice([changes[at].ino] * 3 + [choose.randrange(30), 1 << 63])
        changes[at] = journals.Change(kind, ino, bytes(body[: choose.choice([None, None, 5])]))
    journals.write(journal, changes)
    upper, frozen = Upper.temporary(tmp_path), Frozen(tmp_path / "frozen")
    try:
        stack = Stack([layer], upper, [frozen])
    except MaquinaError:
        upper.close()
        frozen.close()
        return
    with stack:
        inos = [*range(30), 1 << 63]
        for ino in inos:
            outcome(lambda ino=ino: list(stack.list(ino, 0)))  # type: ignore[misc]
            outcome(lambda ino=ino: stack.read_into(ino, 0, [memoryview(bytearray(9))]))  # type: ignore[misc]
            outcome(lambda ino=ino: stack.xattrs(ino))  # type: ignore[misc]
            for name in (b"a", b"b", b"d", b"e"):
                outcome(lambda ino=ino, name=name: stack.lookup(ino, name))  # type: ignore[misc]
                other = choose.choice(inos)
                outcome(lambda a=(ino, name), b=(other, b"new"): stack.rename(a, b, 0))  # type: ignore[misc]
