"""The command line as a whole: quick help, one-line errors, statuses."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from maquina.cli.commands import COMMANDS, maquina
from maquina.cli.sizes import parse_size

HEAVY = ("llvmlite", "httpx", "rich", "zstandard", "pysequoia", "asyncio")


def invoke(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(maquina, list(words))
    return done.exit_code, done.output


def test_help_names_every_command() -> None:
    status, output = invoke("--help")
    assert status == 0
    assert all(f"  {name} " in output for name in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str) -> None:
    status, output = invoke(command, "--help")
    assert status == 0
    assert output.startswith("Usage: ")


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys\nfrom maquina.cli.commands import maquina\n"
        "maquina(['--help'], standalone_mode=False)\n"
        f"assert not [name for name in {HEAVY!r} if name in sys.modules]"
    )
    begun = time.monotonic()
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
    assert time.monotonic() - begun < 2, "far beyond what a busy test machine explains"


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["run"], 2, "nothing to run"),
        (["run", "nosuch"], 2, "no image 'nosuch'"),
        (["run", "--", "true"], 2, "no image 'true'"),
        (["run", "--kernel", "/nonexistent/Image"], 125, "cannot read /nonexistent/Image"),
        (["run", "--kernel", "x", "--drive", "d,size=1"], 2, "'size=1' says nothing of a drive"),
        (["run", "--kernel", "x", "--drive", "d,bus=isa"], 2, "'bus=isa' says nothing of a drive"),
        (["run", "--kernel", "x", "--drive", "/nonexistent/disk"], 125, "/nonexistent/disk"),
        (["run", "--kernel", "x", "--publish", "80"], 2, "publishes no port"),
        (["run", "--kernel", "x", "--network", "none", "--publish", "80:80"], 2, "no network"),
        (["run", "--kernel", "x", "--cpus", "0"], 2, "0 harts"),
        (["run", "--kernel", "x", "--memory", "1"], 2, "bytes of memory"),
        (["run", "--kernel", "x", "--env", "A"], 2, "sets no variable"),
        (["disk", "create", "x"], 2, "no size"),
        (["disk", "info", "/nonexistent/disk"], 1, "/nonexistent/disk"),
    ],
)
def test_errors_are_one_line_with_a_remedy(
    words: list[str], status: int, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    found, output = invoke(*words)
    assert found == status, output
    assert output.startswith("maquina: ")
    assert message in output
    assert output.count("\n") == 1
    assert "; " in output


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "inf", "1e400", "soon"])
def test_no_times(seconds: str) -> None:
    status, output = invoke("run", "debian", "--timeout", seconds, "--", "true")
    assert (status, "Invalid value for '--timeout'" in output) == (2, True)


LOOK_AT_STREAMS = """
import atexit, os, sys
def look():
    try:
        files = [os.fstat(fd) for fd in range(3)]
    except OSError:
        os._exit(3)
    os._exit(4 if None in (sys.stdin, sys.stdout, sys.stderr) else 0)
atexit.register(look)
from maquina.cli import main
sys.argv[1:] = ["--version"]
main()
"""


@pytest.mark.parametrize("closing", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_streams_that_are_closed_get_something_behind_them(closing: str) -> None:
    command = ["sh", "-c", f'"$0" -c "$1" {closing}', sys.executable, LOOK_AT_STREAMS]
    assert subprocess.run(command, check=False, capture_output=True).returncode == 0


def test_memory_beyond_the_host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("maquina.boards.configuration.host_memory_bytes", lambda: 1 << 28)
    status, output = invoke("run", "--kernel", "x", "--network", "none", "--memory", "1G")
    assert (status, "this host has 256 MiB" in output) == (125, True)


def test_disk_images(tmp_path: Path) -> None:
    image = str(tmp_path / "a.qcow2")
    assert invoke("disk", "create", image, "64M")[0] == 0
    assert invoke("disk", "create", "--on", image, str(tmp_path / "b.qcow2"))[0] == 0
    status, output = invoke("disk", "info", str(tmp_path / "b.qcow2"))
    assert (status, "lies on  a.qcow2" in output, "64.0 MiB" in output) == (0, True, True)
    assert invoke("disk", "check", image) == (0, "0 errors, 0 leaks, 0 repaired\n")


@pytest.mark.parametrize(
    ("text", "size"),
    [("512M", 512 << 20), ("1G", 1 << 30), ("1.5g", 3 << 29), ("64MiB", 64 << 20), ("4096", 4096)],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "G", "-1G", "1X", "1 2"])
def test_no_sizes(text: str) -> None:
    with pytest.raises(ValueError, match="is no size"):
        parse_size(text)


def test_doctor_and_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    status, output = invoke("doctor")
    assert status in (0, 1)
    assert "memory" in output
    assert invoke("images") == (0, f"in {tmp_path}/maquina\n")
