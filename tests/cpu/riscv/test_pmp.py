"""Physical memory protection against a model of the manual's section 3.7."""

from __future__ import annotations

import random

from tests.cpu.riscv.bench_machine import CODE, MEMORY, assemble
from tests.cpu.riscv.guest import FS_ON, MACHINE, MPRV, USER, Guest

from maquina.cpu.riscv import csr_numbers as csr

SEED = 20220215
HARTS, WRITES, PROBES = 150, 30, 2
ENTRIES, GRAIN = 16, 10  # a grain of 2**(10 + 2) bytes
R, W, X, LOCKED = 1, 2, 4, 0x80
OFF, TOR, NA4, NAPOT = range(4)
PAGE = 4096
POINTER = 10
ACCESSES = {"lw": (R, 5), "sw": (W, 7), "fetch": (X, 1)}
FIRST_PROBED = CODE + PAGE
"""The page of the instruction that probes is left out."""


class Model:
    """The registers as written, and what they mean."""

    def __init__(self) -> None:
        self.configuration, self.address = [0] * ENTRIES, [0] * ENTRIES

    def mode(self, entry: int) -> int:
        return self.configuration[entry] >> 3 & 3

    def is_locked(self, entry: int) -> bool:
        """Its own lock, or that of a following top of range that begins here."""
        if self.configuration[entry] & LOCKED:
            return True
        following = entry + 1 < ENTRIES and self.configuration[entry + 1] & LOCKED
        return bool(following) and self.mode(entry + 1) == TOR

    def write_configuration(self, register: int, value: int) -> None:
        for n in range(8):
            entry, byte = 8 * register + n, value >> 8 * n & 0x9F
            old = self.configuration[entry]
            if old & LOCKED or byte & 3 == W:
                continue
            if byte >> 3 & 3 == NA4:  # not to be had with this grain
                byte = byte & ~0x18 | old & 0x18
            self.configuration[entry] = byte

    def write_address(self, entry: int, value: int) -> None:
        if not self.is_locked(entry):
            self.address[entry] = value & (1 << 54) - 1

    def read_configuration(self, register: int) -> int:
        return sum(self.configuration[8 * register + n] << 8 * n for n in range(8))

    def read_address(self, entry: int) -> int:
        if self.mode(entry) == NAPOT:
            return self.address[entry] | (1 << GRAIN - 1) - 1
        return self.address[entry] >> GRAIN << GRAIN

    def region(self, entry: int) -> tuple[int, int]:
        address = self.read_address(entry)
        if self.mode(entry) == OFF:
            return 0, 0
        if self.mode(entry) == TOR:
            below = self.address[entry - 1] >> GRAIN << GRAIN if entry else 0
            return below << 2, address << 2
        ones = 0
        while address >> ones & 1:
            ones += 1
        size = 8 << ones
        start = (address >> ones << ones) << 2
        return start, start + size

    def allows(self, address: int, needed: int, privilege: int) -> bool:
        for entry in range(ENTRIES):
            low, high = self.region(entry)
            if low <= address < high:
                if privilege == MACHINE and not self.configuration[entry] & LOCKED:
                    return True
                return bool(self.configuration[entry] & needed)
        return privilege == MACHINE


def random_address(source: random.Random) -> int:
    """As an address register has it: near memory, with some ones at its end."""
    if source.random() < 0.2:
        return source.getrandbits(64)
    size = source.choice((PAGE, 2 * PAGE, 4 * PAGE, MEMORY, 1 << 30))
    start = CODE + source.randrange(0, MEMORY + PAGE, PAGE)
    return start >> 2 | size // 8 - 1 if source.random() < 0.6 else start >> 2


def write_something(guest: Guest, model: Model, source: random.Random) -> None:
    if source.random() < 0.4:
        register = source.randrange(2)
        value = 0
        for n in range(8):
            byte = source.getrandbits(8) & (0xFF if source.random() < 0.1 else 0x1F)
            value |= byte << 8 * n
        if register == 0:
            value |= model.configuration[0]
        guest.hart.write_csr(csr.PMPCFG0 + 2 * register, value)
        model.write_configuration(register, value)
    else:
        entry = source.randrange(ENTRIES)
        value = random_address(source)
        guest.hart.write_csr(csr.PMPADDR0 + entry, value)
        model.write_address(entry, value)


def probe(guest: Guest, model: Model, source: random.Random) -> tuple[object, object]:
    """One access in M-mode, or on behalf of a user; what came of it and what should have."""
    name = source.choice(list(ACCESSES))
    needed, cause = ACCESSES[name]
    privilege = source.choice((USER, MACHINE))
    page = FIRST_PROBED + PAGE * source.randrange(MEMORY // PAGE - 1)
    address = page + 4 * source.randrange(PAGE // 4)
    hart = guest.hart
    hart.privilege = MACHINE
    guest.set(MSTATUS=FS_ON, MCAUSE=99)
    hart.x[POINTER] = hart.pc = address
    if name == "fetch":
        hart.privilege = privilege
    else:
        guest.set(MSTATUS=FS_ON | MPRV | privilege << 11)
        hart.pc = CODE + 4 * (name == "sw")
    is_allowed = model.allows(address, needed, privilege)
    if name != "fetch" and not model.allows(CODE, X, MACHINE):
        is_allowed, cause, address = False, 1, hart.pc
    hart.step()
    got = guest.get("MCAUSE"), guest.get("MTVAL") * (guest.get("MCAUSE") != 99)
    return got, (99, 0) if is_allowed else (cause, address)


def test_random_regions_protect_as_in_the_manual() -> None:
    for number in range(HARTS):
        seed = f"{SEED} {number}"
        source = random.Random(seed)
        guest, model = Guest(), Model()
        guest.memory.write(CODE, assemble("addi") * (MEMORY // 4))
        guest.memory.write(CODE, assemble("lw", rs1=POINTER) + assemble("sw", rs1=POINTER))
        guest.set(PMPCFG0=0, PMPADDR0=0)
        for turn in range(WRITES):
            write_something(guest, model, source)
            what = f"seed {seed!r}, turn {turn}: {model.configuration} {model.address}"
            for n in range(2):
                read = guest.hart.read_csr(csr.PMPCFG0 + 2 * n)
                assert read == model.read_configuration(n), what
            for n in range(ENTRIES):
                assert guest.hart.read_csr(csr.PMPADDR0 + n) == model.read_address(n), what
            for _ in range(PROBES):
                guest.set(MTVAL=0)
                got, want = probe(guest, model, source)
                assert got == want, what
                guest.memory.write(CODE + PAGE, assemble("addi") * ((MEMORY - PAGE) // 4))
