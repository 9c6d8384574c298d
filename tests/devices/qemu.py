"""QEMU's virt machine with its processors stopped: its devices, driven over the qtest protocol.

Debian's QEMU has the protocol but not the accelerator that lets time pass: the clock stands still.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

PROGRAM = "qemu-system-riscv64"


class Qemu:
    """Registers and memory of QEMU's machine, as `Space` and `Memory` of `driver`."""

    def __init__(self, *options: str) -> None:
        if shutil.which(PROGRAM) is None:
            pytest.skip(f"{PROGRAM} is not installed (Debian: qemu-system-misc)")
        machine = ["-machine", "virt", "-smp", "2", "-m", "32M", "-nodefaults", "-display", "none"]
        command = [PROGRAM, *machine, "-bios", "none", "-S", "-qtest", "stdio"]
        self._process = subprocess.Popen(
            [*command, "-qtest-log", "/dev/null", *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()

    def ask(self, line: str) -> str:
        """One command; answers what follows OK."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        while True:
            answer = self._process.stdout.readline()
            if answer.startswith("OK"):
                return answer[2:].strip()
            assert answer.startswith(("[", "IRQ")), f"{line}: {answer}"


class QemuSpace:
    def __init__(self, qemu: Qemu) -> None:
        self._qemu = qemu

    def read(self, address: int, size: int) -> int | None:
        return int(self._qemu.ask(f"read{'bwlq'[size.bit_length() - 1]} {address:#x}"), 16)

    def write(self, address: int, size: int, value: int) -> bool:
        self._qemu.ask(f"write{'bwlq'[size.bit_length() - 1]} {address:#x} {value:#x}")
        return True


class QemuMemory:
    def __init__(self, qemu: Qemu) -> None:
        self._qemu = qemu

    def read(self, address: int, size: int) -> bytes:
        if size == 0:
            return b""
        return bytes.fromhex(self._qemu.ask(f"read {address:#x} {size:#x}")[2:])

    def write(self, address: int, data: bytes) -> None:
        if data:
            self._qemu.ask(f"write {address:#x} {len(data):#x} 0x{data.hex()}")


def make_disk(path: Path, size: int) -> str:
    """An empty raw disk as a -drive option."""
    path.write_bytes(bytes(size))
    return f"if=none,id=disk,format=raw,file={path},discard=unmap"
