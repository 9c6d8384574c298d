"""A hart that is saved and restored goes on as if nothing had happened."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.cpu.riscv.bench_machine import CODE, MEMORY, assemble
from tests.cpu.riscv.guest import Guest
from tests.cpu.riscv.random_programs import ENOUGH, make, outcome, prepare

from maquina.cpu.riscv.hart import Hart
from maquina.cpu.riscv.saving import STORED, restore, save
from maquina.errors import StateError
from maquina.jit import u64
from maquina.machine.bus import AddressSpace
from maquina.machine.memory import GuestMemory
from maquina.machine.vcpu import Exit

SEED = 20230517
PROGRAMS = 60


def continued(hart: Hart, memory: GuestMemory) -> tuple[Hart, GuestMemory]:
    """Another hart, given a copy of memory and the saved state as text."""
    twin_memory = GuestMemory(CODE, MEMORY)
    twin_memory.write(CODE, memory.bytes)
    twin = Hart(0, twin_memory, AddressSpace())
    twin.state.counts_time = u64(1)
    restore(twin, json.loads(json.dumps(save(hart))))
    return twin, twin_memory


@pytest.mark.parametrize("pause", [1, 100, 700])
def test_a_program_goes_on_in_another_hart(pause: int) -> None:
    moved = 0
    for number in range(PROGRAMS):
        seed = f"{SEED} {pause} {number}"
        hart, memory = prepare(make(seed))
        if hart.run(pause) is Exit.LIMIT:
            twin, twin_memory = continued(hart, memory)
            assert save(twin) == save(hart)
            expected = outcome(hart, memory, hart.run(ENOUGH))
            assert outcome(twin, twin_memory, twin.run(ENOUGH)) == expected, f"seed {seed!r}"
            moved += 1
    assert moved > PROGRAMS // 2


def test_a_reservation_survives() -> None:
    code = (
        assemble("lr.w", rd=1, rs1=10),
        assemble("sc.w", rd=2, rs1=10, rs2=3),
    )
    guest = Guest()
    guest.hart.x[10], guest.hart.x[2] = CODE + 0x100, 7
    guest.execute(*code, steps=1)
    twin, _ = continued(guest.hart, guest.memory)
    twin.run(1)
    assert twin.x[2] == 0


def test_time_goes_on_where_it_was() -> None:
    guest = Guest()
    guest.hart.state.clock_origin = u64(guest.hart.state.clock_origin.value - 10**13)
    saved = save(guest.hart)
    twin = Guest()
    restore(twin.hart, saved)
    passed = twin.get("TIME") - 10**11
    assert 0 <= passed < 10**9


def test_restoring_unlocks_what_was_locked() -> None:
    """The whole state is replaced, also registers that a guest could not change any more."""
    guest = Guest()
    saved = save(guest.hart)
    guest.set(PMPCFG0=0x98)
    assert guest.get("PMPCFG0") == 0x98
    restore(guest.hart, saved)
    assert guest.get("PMPCFG0") == 0x1F
    guest.execute(assemble("addi", rd=1, imm=5), privilege=0)
    assert guest.hart.x[1] == 5


HOSTILE: dict[str, tuple[str, Any]] = {
    "not x0": ("x", [1] + [0] * 31),
    "too few": ("x", [0] * 31),
    "too large": ("f", [1 << 64] * 32),
    "no numbers": ("f", ["0"] * 32),
    "odd": ("pc", 1),
    "negative": ("pc", -2),
    "a flag": ("pc", True),
    "hypervisor": ("privilege", 2),
    "rounding": ("fcsr", 0x100),
    "two bytes": ("pmpcfg", [0x2000, 0]),
    "write only": ("pmpcfg", [2, 0]),
    "four bytes": ("pmpcfg", [0, 0x10 << 56]),
    "56 bits": ("pmpaddr", [1 << 54] * 16),
    "outside": ("reservation", CODE + MEMORY),
    "the host's": ("reservation", CODE - 8),
    "between": ("reservation", CODE + 2),
    "unknown line": ("lines", 1 << 63),
    "past": ("time", -1),
    "gone": ("mtimecmp", None),
    "no registers": ("csr", []),
}
HOSTILE_REGISTERS: dict[str, tuple[str, Any]] = {
    "mode": ("mstatus", 2 << 11),
    "hypervisor": ("mstatus", 1 << 39),
    "Sv57": ("satp", 10 << 60),
    "bits": ("medeleg", 1 << 11),
    "more": ("mie", 1 << 12),
    "vector": ("stvec", CODE | 2),
    "odd": ("mepc", 1),
    "half": ("sepc", 0.5),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_states_are_refused(what: str) -> None:
    guest = Guest()
    before = save(guest.hart) | {"time": 0}
    name, value = HOSTILE[what]
    with pytest.raises(StateError, match=name):
        restore(guest.hart, before | {"pc": CODE + 2} | {name: value})
    assert save(guest.hart) | {"time": 0} == before


@pytest.mark.parametrize("what", HOSTILE_REGISTERS)
def test_hostile_registers_are_refused(what: str) -> None:
    guest = Guest()
    before = save(guest.hart) | {"time": 0}
    name, value = HOSTILE_REGISTERS[what]
    registers = before["csr"]
    assert isinstance(registers, dict)
    with pytest.raises(StateError, match=name):
        restore(guest.hart, before | {"pc": CODE + 2, "csr": registers | {name: value}})
    assert save(guest.hart) | {"time": 0} == before


@pytest.mark.parametrize("state", [None, [], {}, {"x": None}, "x", 7])
def test_what_is_no_state_is_refused(state: object) -> None:
    with pytest.raises(StateError):
        restore(Guest().hart, state)


def test_every_field_is_needed() -> None:
    guest = Guest()
    whole = save(guest.hart)
    for name in whole:
        with pytest.raises(StateError, match=name):
            restore(guest.hart, {key: value for key, value in whole.items() if key != name})
    assert len(STORED) > 20
