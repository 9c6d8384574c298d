"""`maquina run debian -- COMMAND`: streams, statuses, signals, network, harts and memory."""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest
from tests.boot.commands import TIMEOUT_S, image, maquina, start

pytestmark = pytest.mark.boot


@pytest.fixture(autouse=True)
def _debian() -> None:
    image()


def test_answer() -> None:
    done = maquina("run", "debian", "--", "python3", "-c", "print(6*7)")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"42\n", b"")


def test_status_and_both_streams() -> None:
    done = maquina("run", "debian", "--", "sh", "-c", "echo out; echo err >&2; exit 3")
    assert (done.returncode, done.stdout, done.stderr) == (3, b"out\n", b"err\n")


def test_arguments_and_variables_arrive_as_they_are() -> None:
    argv = ["", "a b", "'\"$`\\", "new\nline", "*", "é", "-n", "--"]
    script = "import os,sys; print(ascii(sys.argv[1:]), ascii(os.environ['X']))"
    words = ["run", "debian", "--env", "X= '\n$Y", "--", "python3", "-c", script, *argv]
    done = maquina(*words)
    assert done.stdout.decode() == f"{argv!a} {chr(32) + chr(39) + chr(10) + '$Y'!a}\n"


def test_standard_input_is_binary_and_ends() -> None:
    data = os.urandom(3_000_000)
    done = maquina("run", "debian", "--", "sha256sum", data=data)
    assert done.stdout.split()[0].decode() == hashlib.sha256(data).hexdigest()


def test_ten_megabytes_of_output() -> None:
    script = "import sys; [sys.stdout.buffer.write(bytes(range(256)) * 400) for _ in range(100)]"
    done = maquina("run", "debian", "--", "python3", "-c", script)
    expected = bytes(range(256)) * 40_000
    assert hashlib.sha256(done.stdout).digest() == hashlib.sha256(expected).digest()


def test_programs_that_are_not_there_or_cannot_run() -> None:
    assert maquina("run", "debian", "--", "no-such-program").returncode == 127
    assert maquina("run", "debian", "--", "/etc/passwd").returncode == 126


def test_a_program_may_open_its_standard_output_again() -> None:
    done = maquina("run", "debian", "--", "sh", "-c", "echo a >/dev/stdout; echo b >/dev/stderr")
    assert (done.stdout, done.stderr) == (b"a\n", b"b\n")


@pytest.mark.parametrize("harts", [2, 4])
def test_harts(harts: int) -> None:
    done = maquina("run", "debian", "--cpus", str(harts), "--", "nproc")
    assert done.stdout == f"{harts}\n".encode()


@pytest.mark.parametrize(("size", "least_kib"), [("256M", 180_000), ("4G", 3_900_000)])
def test_memory(size: str, least_kib: int) -> None:
    done = maquina("run", "debian", "--memory", size, "--", "grep", "MemTotal", "/proc/meminfo")
    assert int(done.stdout.split()[1]) > least_kib


def test_interrupt_reaches_the_command() -> None:
    script = (
        "import time\ntry:\n  print('up', flush=True); time.sleep(99)\n"
        "except KeyboardInterrupt: print('caught')"
    )
    with start(["run", "debian", "--", "python3", "-c", script]) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
        assert process.stdout.read() == b"caught\n"


def test_termination_switches_the_machine_off() -> None:
    with start(["run", "debian", "--", "sh", "-c", "echo up; sleep 99"]) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.terminate()
        assert process.wait(10) == 143


def test_a_reader_that_goes_away_ends_the_command() -> None:
    with start(["run", "debian", "--", "yes"]) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(30) == 141


def test_interrupted_before_the_guest_is_up() -> None:
    with start(["run", "debian", "--", "sleep", "99"]) as process:
        time.sleep(0.8)
        process.send_signal(signal.SIGINT)
        assert process.wait(5) == 130


def test_output_that_cannot_be_written() -> None:
    with open("/dev/full", "wb") as full:  # noqa: PTH123  a device
        process = start(["run", "debian", "--", "sh", "-c", "echo; sleep 99"], stdout=full)
    _, errors = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 125
    assert errors == (
        b"maquina: cannot write the command's output: No space left on device; see where it goes\n"
    )


def test_a_guest_that_switches_itself_off() -> None:
    done = maquina("run", "debian", "--", "/.maquina/busybox", "poweroff", "-f")
    assert (done.returncode, done.stderr) == (0, b"")


def test_timeout() -> None:
    assert maquina("run", "debian", "--timeout", "3", "--", "sleep", "99").returncode == 124


def test_published_web_site() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = ["python3", "-m", "http.server", "80"]
    words = ["run", "debian", "--publish", f"{port}:80", "--", *server]
    with start(words, stdout=subprocess.DEVNULL) as process:
        try:
            page = _fetch(f"http://127.0.0.1:{port}/etc/hostname")
        finally:
            process.terminate()
        assert page.strip()


def _fetch(url: str) -> bytes:
    deadline = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return bytes(answer.read())
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


def test_no_network() -> None:
    done = maquina("run", "debian", "--network", "none", "--", "cat", "/proc/net/dev")
    assert b"lo:" in done.stdout
    assert b"eth0" not in done.stdout


def test_a_drive_keeps_what_was_written_without_sync(tmp_path: Path) -> None:
    disk = tmp_path / "disk.qcow2"
    assert maquina("disk", "create", str(disk), "16M").returncode == 0
    words = ["run", "debian", "--network", "none", "--drive", str(disk), "--"]
    copy = "dd if=/usr/bin/python3.13 of=/dev/vda bs=64k; sha256sum /usr/bin/python3.13"
    first = maquina(*words, "sh", "-c", copy)
    assert first.returncode == 0, first.stderr
    check = "head -c $(stat -c %s /usr/bin/python3.13) /dev/vda | sha256sum"
    second = maquina(*words, "sh", "-c", check)
    assert second.stdout.split()[0] == first.stdout.split()[0]
    assert b" 0 errors, 0 leaks" in b" " + maquina("disk", "check", str(disk)).stdout


def test_stock_command_line() -> None:
    assert maquina("run", "debian", "--stock", "--", "true").returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("options", [("--guest-kernel", "trixie"), ("--suite", "forky")])
def test_other_kernels_and_suites(options: tuple[str, ...]) -> None:
    image(*options)
    done = maquina("run", "debian", *options, "--", "sh", "-c", "uname -r; . /etc/os-release")
    assert done.returncode == 0
    assert b"riscv64" in done.stdout
