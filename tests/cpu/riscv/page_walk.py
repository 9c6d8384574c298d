"""Address translation as the privileged manual tells it, for the tests to compare with.

Section numbers are those of the manual's chapter on the supervisor: 4.3.2 is the algorithm, whose
steps the comments number.
"""

from __future__ import annotations

from dataclasses import dataclass

from maquina.machine.memory import GuestMemory

V, R, W, X, U, G, A, D = (1 << n for n in range(8))
FETCH, LOAD, STORE = "fetch", "load", "store"
PAGE_FAULTS = {FETCH: 12, LOAD: 13, STORE: 15}
ACCESS_FAULTS = {FETCH: 1, LOAD: 5, STORE: 7}
LEVELS = {8: 3, 9: 4}
USER, SUPERVISOR = 0, 1


class Fault(Exception):
    """Translation ended in an exception with this cause."""

    def __init__(self, cause: int) -> None:
        super().__init__(cause)
        self.cause = cause


@dataclass(frozen=True)
class Rules:
    """What decides a translation besides the tables."""

    satp: int
    privilege: int
    sums: bool = False  # mstatus.SUM
    mxr: bool = False
    adue: bool = True


def read_entry(memory: GuestMemory, address: int, kind: str) -> int:
    if address not in memory:
        raise Fault(ACCESS_FAULTS[kind])
    return int.from_bytes(memory.read(address, 8), "little")


def is_allowed(entry: int, rules: Rules, kind: str) -> bool:
    if kind == FETCH:
        allowed = bool(entry & X)
    elif kind == LOAD:
        allowed = bool(entry & R) or (rules.mxr and bool(entry & X))
    else:
        allowed = bool(entry & W)
    if rules.privilege == USER:
        return allowed and bool(entry & U)
    return allowed and (not entry & U or (kind != FETCH and rules.sums))


def is_canonical(address: int, levels: int) -> bool:
    top = address >> 12 + 9 * levels - 1
    return top in (0, (1 << 64 - (12 + 9 * levels - 1)) - 1)


def find_leaf(memory: GuestMemory, address: int, rules: Rules, kind: str) -> tuple[int, int, int]:
    """Steps 1 to 4: where the leaf entry is, the entry, and its level."""
    table = (rules.satp & (1 << 44) - 1) * 4096  # step 1
    for level in reversed(range(LEVELS[rules.satp >> 60])):
        where = table + (address >> 12 + 9 * level) % 512 * 8  # step 2
        entry = read_entry(memory, where, kind)
        if not entry & V or (entry & W and not entry & R) or entry >> 54:  # step 3
            raise Fault(PAGE_FAULTS[kind])
        if entry & (R | X):  # step 4
            return where, entry, level
        if entry & (D | A | U):  # reserved in entries that are no leaves
            raise Fault(PAGE_FAULTS[kind])
        table = (entry >> 10) % (1 << 44) * 4096
    raise Fault(PAGE_FAULTS[kind])


def translate(memory: GuestMemory, address: int, rules: Rules, kind: str) -> int:
    """The physical address; sets A and D in the leaf entry as hardware would."""
    mode = rules.satp >> 60
    if mode == 0:
        return address
    page_fault = Fault(PAGE_FAULTS[kind])
    if not is_canonical(address, LEVELS[mode]):
        raise page_fault
    where, entry, level = find_leaf(memory, address, rules, kind)
    frame = (entry >> 10) % (1 << 44)
    if not is_allowed(entry, rules, kind):  # steps 5 to 7
        raise page_fault
    if frame % (1 << 9 * level):  # step 8: a misaligned superpage
        raise page_fault
    marked = entry | A | (D if kind == STORE else 0)  # step 9
    if marked != entry:
        if not rules.adue:
            raise page_fault
        memory.write(where, marked.to_bytes(8, "little"))
    size = 1 << 12 + 9 * level
    return frame * 4096 // size * size + address % size
