"""Preparing a guest: what comes of it, and whatever may come in between."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from tests.boot.commands import ENVIRONMENT, image, maquina, start

from maquina.hypervisor import preparing
from maquina.hypervisor.preparing import Step, prepare
from maquina.images import Guest, debian
from maquina.images.cache import Cache
from maquina.images.progress import Silent, Task
from maquina.storage.layers.layer import Layer
from maquina.storage.layers.stack import Stack
from maquina.storage.layers.upper import Upper

pytestmark = pytest.mark.boot
QUICK = Step("writing", "echo done >/usr/quick; ssh=/etc/ssh; mkdir $ssh; echo x >$ssh/ssh_host_x")
PROCESS = """
import sys
from maquina.hypervisor import preparing
from maquina.images import debian, on_terminal
preparing.COMPILING = preparing.Step("writing", sys.argv[1])
with on_terminal() as progress:
    print(len(preparing.prepare(debian(), progress).layers))
"""


class Heard(Silent):
    """Progress that remembers what it was told."""

    def __init__(self) -> None:
        self.tasks: list[str] = []
        self.notes: list[str] = []

    def task(self, label: str, total: int | None, unit: str = "B") -> AbstractContextManager[Task]:
        self.tasks.append(label)
        return super().task(label, total, unit)

    def note(self, message: str) -> None:
        self.notes.append(message)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cache:
    """The user's cache as far as it is not about preparing; what is new goes elsewhere."""
    image()
    users, mine = Cache.of_user(), Cache(tmp_path / "cache" / "maquina")
    for entry in [*users.root.glob("*/*"), users.root / "native"]:
        if "prepared" in entry.name or entry.parent.name in ("locks", "native", "packages"):
            continue
        link = mine.root / entry.relative_to(users.root)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(entry)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return mine


@pytest.fixture
def guest(cache: Cache) -> Guest:
    return debian()


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def files(guest: Guest, tmp_path: Path) -> Iterator[Stack]:
    """What is in a guest that was prepared quickly."""
    patch = pytest.MonkeyPatch()
    with patch.context() as context:
        context.setattr(preparing, "COMPILING", QUICK)
        ready = prepare(guest)
    layers = [Layer.open(path) for path in ready.layers]
    with Stack(layers, Upper.temporary(tmp_path)) as stack:
        yield stack
    for layer in layers:
        layer.close()


def unfinished(cache: Cache) -> list[Path]:
    return list(cache.root.glob("layers/.*"))


@pytest.mark.slow
def test_python_is_compiled() -> None:
    """In the user's cache, where it is done once."""
    image()
    script = "import http.server, asyncio; print(*map(vars(http.server).get, ['__cached__']))"
    environment = {**ENVIRONMENT, "MAQUINA_PREPARE": "yes"}
    argv = ["python3", "-v", "-c", script]
    with start(["run", "debian", "--", *argv], env=environment) as process:
        out, log = process.communicate(timeout=preparing.TIME_LIMIT_S + 100)
    assert process.returncode == 0, log
    assert out == b"/usr/lib/python3.13/http/__pycache__/server.cpython-313.pyc\n"
    assert b"http/__pycache__/server.cpython-313.pyc matches" in log
    assert b"# wrote" not in log
    assert b"# code object from /usr/lib/" not in log  # a source: byte code has a quote there


def test_only_what_all_machines_may_have_is_kept(files: Stack) -> None:
    assert files.find("usr/quick").size == len("done\n")
    assert [name for _, name, _, _ in files.list(files.find("etc/ssh").ino, 0)] == []
    with pytest.raises(OSError, match="no such name"):
        files.find(".maquina")


def test_it_is_done_once_for_each_recipe(
    guest: Guest, cache: Cache, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preparing, "COMPILING", QUICK)
    first = prepare(guest, heard)
    assert first.layers == (guest.layers[0], first.layers[1], guest.layers[1])
    assert heard.tasks == ["writing, once"]
    assert heard.notes == ["left to each machine to make: etc/ssh/ssh_host_x"]
    assert prepare(guest, heard) == first
    assert len(heard.tasks) == 1
    assert first.layers[1].name in {entry.name for entry in cache.entries()}
    monkeypatch.setattr(preparing, "RECIPE", preparing.RECIPE + 1)
    assert prepare(guest, heard).layers[1] != first.layers[1]
    assert len(heard.tasks) == 2


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo c >/proc/sysrq-trigger", "the guest ended before its command did"),
        ("sleep 99", "took longer than 3 s"),
        ("truncate -s 64G /usr/hole", "more was written than one layer may have"),
    ],
)
def test_a_guest_that_fails_is_used_as_it_is(
    guest: Guest,
    cache: Cache,
    heard: Heard,
    monkeypatch: pytest.MonkeyPatch,
    script: str,
    reason: str,
) -> None:
    monkeypatch.setattr(preparing, "COMPILING", Step("failing", script))
    if "longer" in reason:
        monkeypatch.setattr(preparing, "TIME_LIMIT_S", 3.0)
    assert prepare(guest, heard) == guest
    assert len(heard.notes) == 1
    assert reason in heard.notes[0]
    assert not unfinished(cache)
    assert prepare(guest, heard) == guest  # at once, and silent
    assert (len(heard.tasks), len(heard.notes)) == (1, 1)
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache.root.parent))
    monkeypatch.setattr(preparing, "COMPILING", QUICK)
    assert len(prepare(guest, heard, again=True).layers) == 3
    assert not [entry for entry in cache.entries() if entry.kind == "unprepared"]


def test_a_package_that_cannot_be_configured_is_named(
    guest: Guest, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = preparing.FAILED.decode() + " hello\n world\n"
    script = f"printf '%s' '{said}' >/{preparing.LOG}; exit 1"
    monkeypatch.setattr(preparing, "UNCONFIGURED", b" installed\n")
    monkeypatch.setattr(preparing, "CONFIGURING", Step("configuring", script))
    monkeypatch.setattr(preparing, "COMPILING", QUICK)
    assert len(prepare(guest, heard).layers) == 3
    assert heard.tasks == ["configuring, once", "writing, once"]
    assert heard.notes[0].startswith("not configured: hello, world; dpkg --configure -a")


def begin(script: str) -> subprocess.Popen[str]:
    """Prepare in a process of its own."""
    command = [sys.executable, "-c", PROCESS, script]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ
    )


def test_of_two_at_once_one_does_it(cache: Cache) -> None:
    script = "sleep 3; echo done >/usr/quick"
    with begin(script) as first, begin(script) as second:
        (out, log), (other_out, other_log) = (
            each.communicate(timeout=100) for each in (first, second)
        )
    assert (out, other_out) == ("3\n", "3\n"), log + other_log
    waited = "waiting for another run that is preparing the same files\n"
    assert sorted((log, other_log)) == [waited, "writing, once\n"]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_one_that_is_killed_leaves_nothing(cache: Cache, number: signal.Signals) -> None:
    with begin("sleep 99") as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "writing, once\n"
        process.send_signal(number)
        process.wait(10)
        process.communicate()
    assert not list(cache.root.glob("*/*prepared"))
    with begin("true") as process:
        assert process.communicate(timeout=100)[0] == "3\n"
    assert not unfinished(cache)
    assert not list((cache.root.parent.parent / "state" / "maquina").iterdir())


def test_one_that_is_killed_while_it_writes(cache: Cache, guest: Guest) -> None:
    """Killed at some moment of writing the layer: there is none, or a whole one."""
    name = preparing._name(guest)
    for delay_s in (0.0, 0.1):
        with begin("head -c 100M /dev/zero >/usr/big") as process:
            deadline = time.monotonic() + 60
            while not unfinished(cache) and time.monotonic() < deadline:
                time.sleep(0.005)
            time.sleep(delay_s)
            process.kill()
            process.communicate()
        path = cache.path("layers", name)
        if path.exists():
            Layer.open(path).close()
    cache.prune(1e9)
    assert not unfinished(cache)


def test_no_prepare(cache: Cache) -> None:
    done = maquina("run", "debian", "--no-prepare", "--", "ls", "/usr/lib/python3.13/http")
    assert done.stderr == b""
    assert b"__pycache__" not in done.stdout
    assert not list(cache.root.glob("*/*prepared*"))
