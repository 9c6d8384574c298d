"""Accesses through random page tables, predicted by the walk that the manual describes."""

from __future__ import annotations

import random

import pytest
from tests.cpu.riscv.page_walk import FETCH, Fault, R, Rules, U, V, W, X, translate
from tests.cpu.riscv.page_walk import A as ACCESSED
from tests.cpu.riscv.page_walk import D as DIRTY
from tests.cpu.riscv.page_walk import G as GLOBAL
from tests.cpu.riscv.paging import (
    FIRST_TABLE,
    HANDLER,
    LEVELS,
    LOADS,
    MXR,
    PAGE,
    RAM,
    ROOT,
    SIZE,
    STORES,
    SUM,
    SV39,
    SV48,
    Paging,
    Seen,
    kind_of,
    mark_of,
)

from maquina.machine.memory import GuestMemory

SEED = 20211203
TABLES, ACCESSES = 400, 40
INDEXES = (0, 1, 2, 5, 256)
"""Few, so that addresses share tables."""
LAST_TABLE = HANDLER


def random_address(mode: int, source: random.Random) -> int:
    levels = LEVELS[mode]
    page = 0
    for _ in range(levels):
        page = page << 9 | source.choice(INDEXES)
    address = page << 12
    top = 1 << 12 + 9 * levels - 1
    return (address ^ top) - top & (1 << 64) - 1


def random_leaf(level: int, source: random.Random) -> int:
    flags = V
    for bit, chance in ((R, 0.95), (W, 0.8), (X, 0.8), (U, 0.5), (ACCESSED, 0.8), (DIRTY, 0.6)):
        flags |= bit * (source.random() < chance)
    flags |= GLOBAL * (source.random() < 0.2)
    if source.random() < 0.05:
        flags ^= source.choice((V, 1 << source.randrange(54, 64)))
    frame = (
        (RAM >> 12) + source.randrange(FIRST_TABLE),
        (RAM >> 12) + 512 * source.randrange(2),
        RAM >> 12,
        0,
    )[level]
    if source.random() < 0.07:
        frame = source.choice((frame ^ 1 << source.randrange(18), source.getrandbits(44)))
    return frame << 10 | flags


def random_pointer(table: int, source: random.Random) -> int:
    entry = table >> 12 << 10 | V | GLOBAL * (source.random() < 0.1)
    if source.random() < 0.04:
        entry ^= source.choice((V, ACCESSED, DIRTY, U, W, 1 << 60, 1 << 50))
    return entry


def fill_tables(paging: Paging, mode: int, source: random.Random) -> list[int]:
    """Random tables; addresses that they have something to say about."""
    paging.clear()
    paging.map_code(mode)
    addresses = []
    for _ in range(14):
        address = random_address(mode, source)
        level = source.choice((0, 0, 0, 0, 1, 1, 2, LEVELS[mode] - 1))
        table = ROOT
        for above in range(LEVELS[mode] - 1, level, -1):
            where = table + (address >> 12 + 9 * above & 511) * 8
            if paging.read(where) == 0:
                paging.write(where, random_pointer(paging.new_table(), source))
            table = (paging.read(where) >> 10) % (1 << 44) << 12
            if not ROOT <= table < LAST_TABLE:
                break
        else:
            leaf = table + (address >> 12 + 9 * level & 511) * 8
            if paging.read(leaf) == 0:
                paging.write(leaf, random_leaf(level, source))
        addresses += [address, address, address ^ source.choice((1, 2, 256)) << 12]
    return addresses


class Model:
    """What the accesses should do, on a memory of its own."""

    def __init__(self, memory: GuestMemory) -> None:
        self.memory = GuestMemory(RAM, SIZE)
        self.memory.write(RAM, memory.bytes)

    def access(self, name: str, address: int, rules: Rules, value: int) -> Seen:
        kind = kind_of(name)
        size = 4 if name == FETCH else (LOADS | STORES)[name]
        second = (address | PAGE - 1) + 1
        at = address
        try:
            places = [translate(self.memory, address, rules, kind)]
            if address + size > second:
                at = second & (1 << 64) - 1
                places.append(translate(self.memory, at, rules, kind))
        except Fault as fault:
            return Seen(fault.cause, at)
        at = second
        run = [places[0] + n for n in range(min(size, second - address))]
        run += [places[-1] + n for n in range(size - len(run))]
        if any(place not in self.memory for place in run):
            return Seen({"fetch": 1, "load": 5, "store": 7}[kind], address)
        return Seen(None, self.touch(name, run, value))

    def touch(self, name: str, run: list[int], value: int) -> int:
        old = b"".join(self.memory.read(place, 1) for place in run)
        if name in STORES:
            for n, place in enumerate(run):
                self.memory.write(place, bytes([value >> 8 * n & 255]))
        if name in STORES and not name.startswith("amo"):
            return 0
        is_signed = name in ("lb", "lw", "lr.w", "amoswap.w")
        return int.from_bytes(old, "little", signed=is_signed) & (1 << 64) - 1


def random_place(name: str, address: int, source: random.Random) -> int:
    """An address in the page, often at its end, sometimes not canonical."""
    if name in ("ld", "sd", "fld", "fsd") and source.random() < 0.3:
        return address + PAGE - 4
    if source.random() < 0.03:
        address ^= 1 << source.randrange(39, 64)
    return address + 8 * source.randrange(PAGE // 8)


def value_of(source: random.Random) -> int:
    """Something to store that keeps memory made of harmless instructions."""
    return mark_of(source.randrange(1 << 20)) * (1 | 1 << 32)


@pytest.mark.parametrize("mode", [SV39, SV48])
def test_random_tables_do_what_the_manual_says(mode: int) -> None:
    """Of all accesses a good part must go through, and a good part must not."""
    paging, through = Paging(), 0
    names = [n for n in (*LOADS, *STORES) if n != "sh"]
    for number in range(TABLES // 2):
        seed = f"{SEED} {mode} {number}"
        source = random.Random(seed)
        addresses = fill_tables(paging, mode, source)
        model = Model(paging.memory)
        satp = paging.use(mode, asid=source.randrange(4))
        for turn in range(ACCESSES):
            name = source.choice((*names, FETCH, FETCH))
            address = random_place(name, source.choice(addresses), source) & (1 << 64) - 1
            privilege = source.randrange(2)
            status = source.choice((0, SUM, MXR, SUM | MXR))
            adue = source.random() < 0.7
            value = value_of(source)
            rules = Rules(satp, privilege, bool(status & SUM), bool(status & MXR), adue)
            paging.set_adue(adue)
            got = paging.access(name, address, privilege, status, value, source.random() < 0.5)
            want = model.access(name, address, rules, value)
            if name in STORES and not name.startswith("amo") and got.cause is None:
                got = Seen(None, 0)
            what = f"seed {seed!r}, turn {turn}: {name} {address:#x} with {rules}"
            assert got == want, what
            tables = slice(FIRST_TABLE * PAGE, LAST_TABLE - RAM)
            assert bytes(paging.memory.bytes[tables]) == bytes(model.memory.bytes[tables]), what
            through += got.cause is None
        assert bytes(paging.memory.bytes) == bytes(model.memory.bytes), f"seed {seed!r}"
        model.memory.close()
    assert 0.2 < through / (TABLES // 2 * ACCESSES) < 0.8
