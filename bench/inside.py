"""Disk and network as programs inside the guest see them, on our machine and on QEMU.

The disk is read past the guest's cache by `dd iflag=direct`; the network carries a file each way
through a published port, `nc` at the guest's end. Both machines run the whole time and take turns.
"""

from __future__ import annotations

import re
import socket
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

from bench.boot import CONSOLE
from bench.contenders import Computer, ours, qemu
from bench.materials import READY, guest, write_initrd
from bench.network import CHUNK, MEGABIT
from bench.programs import DONE, Program
from bench.ratios import Result, Sample, alternate, compare
from maquina.images.guest import MODULES

DISK_BYTES = 128 << 20
FILE_BYTES = 32 << 20
OUR_PORT, THEIR_PORT, GUEST_PORT = 18080, 18081, 80
LISTENING = "LISTENING"


def measure(directory: Path, pairs: int) -> list[Result]:
    our_disk, their_disk = (_make_disk(directory / name) for name in ("ours.raw", "theirs.raw"))
    kernel = guest().kernel
    modules = (*guest().modules, *(m for m in guest().disk_modules if m.stem == "virtio_blk"))
    computer = Computer(
        kernel=kernel.image,
        initrd=write_initrd(directory, modules),
        append=f"{CONSOLE} {kernel.tuned}",
        disk=our_disk,
        published=((OUR_PORT, THEIR_PORT, GUEST_PORT),),
    )
    peer = replace(computer, disk=their_disk)
    with Program(ours(computer)) as our_machine, Program(qemu(peer)) as their_machine:
        machines = (our_machine, their_machine)
        for machine in machines:
            _prepare(machine)
        return _disk(machines, pairs) + _network(machines, pairs)


def _make_disk(path: Path) -> Path:
    with path.open("wb") as disk:
        for _ in range(DISK_BYTES // CHUNK):
            disk.write(b"Z" * CHUNK)
    return path


def _prepare(machine: Program) -> None:
    machine.match(READY.encode())
    machine.command(
        f"cd /{MODULES} && while read -r module; do insmod $module; done < order; cd /"
    )
    machine.command("ifconfig eth0 10.0.2.15 netmask 255.255.255.0")
    machine.command("route add default gw 10.0.2.2")
    machine.command(f"head -c {FILE_BYTES} /dev/zero > /tmp/file")


def _disk(machines: tuple[Program, Program], pairs: int) -> list[Result]:
    results = []
    for size in (1 << 20, 1 << 16):
        turns = [partial(_read_disk, machine, size) for machine in machines]
        for turn in turns:
            turn()
        samples = alternate(turns[0], turns[1], pairs)
        title = f"in the guest: dd, direct, {size >> 10} KiB"
        results.append(compare(title, "MB/s", "QEMU", samples))
    return results


def _read_disk(machine: Program, size: int) -> Sample:
    before, began = machine.user_s(), time.perf_counter()
    count = DISK_BYTES // size
    machine.command(f"dd if=/dev/vda of=/dev/null bs={size} count={count} iflag=direct")
    seconds = time.perf_counter() - began
    return Sample(DISK_BYTES / 1e6 / seconds, machine.user_s() - before)


def _network(machines: tuple[Program, Program], pairs: int) -> list[Result]:
    ports = (OUR_PORT, THEIR_PORT)
    results = []
    for name, transfer in (("to the guest", _upload), ("from the guest", _download)):
        turns = [partial(transfer, *each) for each in zip(machines, ports, strict=True)]
        for turn in turns:
            turn()
        samples = alternate(turns[0], turns[1], pairs)
        results.append(compare(f"in the guest: network, {name}", "Mbit/s", "QEMU", samples))
    return results


def _upload(machine: Program, port: int) -> Sample:
    """The host sends, the guest says when it has read everything."""
    before = machine.user_s()
    machine.send(f"echo {LISTENING}; nc -l -p {GUEST_PORT} > /dev/null")
    _await_listener(machine)
    began = time.perf_counter()
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.sendall(bytes(FILE_BYTES))
        sock.shutdown(socket.SHUT_WR)
        machine.match(DONE)
        seconds = time.perf_counter() - began
    return Sample(FILE_BYTES / MEGABIT / seconds, machine.user_s() - before)


def _download(machine: Program, port: int) -> Sample:
    """The guest sends a file, the host reads to its end."""
    before = machine.user_s()
    machine.send(f"echo {LISTENING}; nc -l -p {GUEST_PORT} < /tmp/file")
    _await_listener(machine)
    began = time.perf_counter()
    taken = 0
    with socket.create_connection(("127.0.0.1", port)) as sock:
        while taken < FILE_BYTES and (data := sock.recv(CHUNK)):
            taken += len(data)
        seconds = time.perf_counter() - began
    machine.match(DONE)
    if taken < FILE_BYTES:
        raise RuntimeError(f"{taken} of {FILE_BYTES} bytes arrived")
    return Sample(taken / MEGABIT / seconds, machine.user_s() - before)


def _await_listener(machine: Program) -> None:
    """The guest's shell says it before it starts `nc`, which needs a moment."""
    machine.match(re.compile(LISTENING.encode() + rb"\r?\n"))
    time.sleep(0.3)
