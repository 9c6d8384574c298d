"""Translation, case by case, and when its results may be kept."""

from __future__ import annotations

import pytest
from tests.cpu.riscv.bench_machine import assemble
from tests.cpu.riscv.page_walk import FETCH, R, U, V, W, X
from tests.cpu.riscv.page_walk import A as ACCESSED
from tests.cpu.riscv.page_walk import D as DIRTY
from tests.cpu.riscv.page_walk import G as GLOBAL
from tests.cpu.riscv.paging import (
    FILLED,
    MACHINE,
    MXR,
    PAGE,
    RAM,
    ROOT,
    RWX,
    RWXU,
    SIZE,
    SUM,
    SUPERVISOR,
    SV39,
    SV48,
    USER,
    Paging,
    Seen,
    mark_of,
)

from maquina.cpu.riscv.csr_numbers import MEPC, PMPADDR0, PMPCFG0, SATP

HERE, THERE = 0x40_0000, 0x40_1000
FIRST, SECOND, THIRD = RAM, RAM + PAGE, RAM + 2 * PAGE
PAGE_FAULT = {"lw": 13, "sw": 15, FETCH: 12, "amoswap.w": 15, "lr.w": 13}
ACCESS_FAULT = {"lw": 5, "sw": 7, FETCH: 1, "amoswap.w": 7, "lr.w": 5}
KINDS = list(PAGE_FAULT)
ENTRIES_OF_ANOTHER_SIZE = [(SV39, 1), (SV39, 2), (SV48, 1), (SV48, 2), (SV48, 3)]


@pytest.fixture(params=["interp", "reference"])
def paging(request: pytest.FixtureRequest) -> Paging:
    paging = Paging(request.param)
    paging.map_code(SV39)
    paging.use(SV39)
    return paging


def in_mode(paging: Paging, mode: int) -> None:
    paging.clear()
    paging.map_code(mode)
    paging.use(mode)


@pytest.mark.parametrize(("mode", "level"), ENTRIES_OF_ANOTHER_SIZE)
def test_a_superpage_maps_all_of_its_range(paging: Paging, mode: int, level: int) -> None:
    in_mode(paging, mode)
    size = 1 << 12 + 9 * level
    frame = RAM // size * size
    start = 3 * size
    paging.map(mode, start, frame, RWX, level)
    for page in (0, 1, 511):
        assert paging.load(start + (RAM - frame) + page * PAGE) == page
    assert paging.access("lw", start + size).cause == PAGE_FAULT["lw"]


@pytest.mark.parametrize(("mode", "level"), ENTRIES_OF_ANOTHER_SIZE)
def test_a_misaligned_superpage_faults(paging: Paging, mode: int, level: int) -> None:
    in_mode(paging, mode)
    size = 1 << 12 + 9 * level
    for bit in range(9 * level):
        where = paging.map(mode, 3 * size, RAM // size * size, RWX, level)
        paging.write(where, paging.read(where) ^ 1 << 10 + bit)
        paging.fence()
        for name in KINDS:
            assert paging.access(name, 3 * size) == Seen(PAGE_FAULT[name], 3 * size)


@pytest.mark.parametrize("bit", range(54, 64))
def test_reserved_bits_fault(paging: Paging, bit: int) -> None:
    """N and PBMT too: there is neither Svnapot nor Svpbmt."""
    paging.map(SV39, HERE, FIRST, RWX | 1 << bit)
    for name in KINDS:
        assert paging.access(name, HERE) == Seen(PAGE_FAULT[name], HERE)


@pytest.mark.parametrize(
    "flags", [0, R | W | X, V, V | W, V | W | X, V | ACCESSED, V | DIRTY, V | U]
)
def test_entries_that_map_nothing_fault(paging: Paging, flags: int) -> None:
    """The last level has no pointers; W without R is reserved."""
    paging.map(SV39, HERE, FIRST, flags)
    for name in KINDS:
        assert paging.access(name, HERE) == Seen(PAGE_FAULT[name], HERE)


@pytest.mark.parametrize("extra", [ACCESSED, DIRTY, U])
def test_pointers_with_reserved_bits_fault(paging: Paging, extra: int) -> None:
    paging.map(SV39, HERE, FIRST, RWX)
    where = paging.entry_of(SV39, HERE, 1)
    paging.write(where, paging.read(where) | extra)
    for name in KINDS:
        assert paging.access(name, HERE) == Seen(PAGE_FAULT[name], HERE)
    paging.write(where, paging.read(where) & ~extra | GLOBAL)
    paging.fence()
    assert paging.load(HERE) == 0


@pytest.mark.parametrize("privilege", [USER, SUPERVISOR])
@pytest.mark.parametrize("flags", [R, X, R | W, R | X, R | W | X])
@pytest.mark.parametrize("is_user_page", [False, True])
def test_permissions(paging: Paging, privilege: int, flags: int, is_user_page: bool) -> None:
    paging.map(SV39, HERE, FIRST, V | ACCESSED | DIRTY | flags | U * is_user_page)
    for status in (0, SUM, MXR, SUM | MXR):
        own = is_user_page == (privilege == USER)
        data = own or (is_user_page and status & SUM != 0)
        readable = flags & R or (status & MXR and flags & X)
        expected = {
            "lw": data and readable,
            "sw": data and flags & W,
            "amoswap.w": data and flags & W,
            "lr.w": data and readable,
            FETCH: own and flags & X,
        }
        for name, is_allowed in expected.items():
            seen = paging.access(name, HERE, privilege, status, mark_of(0))
            assert (seen.cause is None) == bool(is_allowed), (name, status)
            assert is_allowed or seen == Seen(PAGE_FAULT[name], HERE)
            if name != FETCH:
                assert paging.access(name, HERE, privilege, status, mark_of(0), True) == seen


def test_mprv_leaves_fetches_alone(paging: Paging) -> None:
    """Code at a physical address runs in M-mode while data goes through the tables."""
    paging.map(SV39, HERE, THIRD, RWX)
    seen = paging.access("lw", HERE, SUPERVISOR, by_mprv=True)
    assert seen.value >> 12 & 0xFFFFF == 2
    assert paging.access("lw", HERE, MACHINE).cause == ACCESS_FAULT["lw"]
    assert paging.access("lw", THIRD, MACHINE, by_mprv=True).value == seen.value


@pytest.mark.parametrize("name", KINDS)
def test_accessed_and_dirty_bits_are_set(paging: Paging, name: str) -> None:
    where = paging.map(SV39, HERE, FIRST, V | R | W | X)
    paging.set_adue(True)
    assert paging.access(name, HERE).cause is None
    is_store = name in ("sw", "amoswap.w")
    assert paging.read(where) & (ACCESSED | DIRTY) == ACCESSED | DIRTY * is_store
    assert paging.access("sw", HERE).cause is None
    assert paging.read(where) & (ACCESSED | DIRTY) == ACCESSED | DIRTY


@pytest.mark.parametrize("name", KINDS)
def test_accessed_and_dirty_bits_trap_without_adue(paging: Paging, name: str) -> None:
    paging.set_adue(False)
    where = paging.map(SV39, HERE, FIRST, V | R | W | X | DIRTY)
    assert paging.access(name, HERE) == Seen(PAGE_FAULT[name], HERE)
    assert paging.read(where) & ACCESSED == 0
    paging.map(SV39, HERE, FIRST, V | R | W | X | ACCESSED)
    paging.fence()
    is_store = name in ("sw", "amoswap.w")
    assert paging.access(name, HERE).cause == (PAGE_FAULT[name] if is_store else None)


def test_a_page_that_was_read_is_still_clean(paging: Paging) -> None:
    """The first store finds the translation of the load, and must set D all the same."""
    where = paging.map(SV39, HERE, FIRST, V | R | W | ACCESSED)
    assert paging.load(HERE) == 0
    assert paging.read(where) & DIRTY == 0
    assert paging.access("sd", HERE, value=7).cause is None
    assert paging.read(where) & DIRTY != 0


@pytest.mark.parametrize(("mode", "bits"), [(SV39, 39), (SV48, 48)])
def test_addresses_must_be_canonical(paging: Paging, mode: int, bits: int) -> None:
    in_mode(paging, mode)
    top = (1 << 64) - (1 << bits - 1)
    paging.map(mode, HERE, FIRST, RWX)
    paging.map(mode, top + HERE, SECOND, RWX)
    assert (paging.load(HERE), paging.load(top + HERE)) == (0, 1)
    for bit in range(bits - 1, 64):
        for name in KINDS:
            for address in (HERE ^ 1 << bit, top + HERE ^ 1 << bit):
                assert paging.access(name, address) == Seen(PAGE_FAULT[name], address)


@pytest.mark.parametrize("table", [0, RAM - PAGE, RAM + SIZE, (1 << 56) - PAGE])
def test_tables_outside_memory_are_access_faults(paging: Paging, table: int) -> None:
    paging.write(paging.entry_of(SV39, HERE, 1), table >> 12 << 10 | V)
    for name in KINDS:
        assert paging.access(name, HERE) == Seen(ACCESS_FAULT[name], HERE)
    paging.use(SV39, root=table)
    for name in set(KINDS) - {FETCH}:
        assert paging.access(name, HERE, by_mprv=True) == Seen(ACCESS_FAULT[name], HERE)
    assert paging.access(FETCH, HERE) == Seen(ACCESS_FAULT[FETCH], HERE)


# -- accesses that span two pages --------------------------------------------------------------


@pytest.mark.parametrize("name", ["lw", "ld", "sw", "sd", "fld", "fsd"])
@pytest.mark.parametrize("present", [(True, False), (False, True), (False, False)])
def test_half_an_access_is_none(paging: Paging, name: str, present: tuple[bool, bool]) -> None:
    """tval names the half that failed, and nothing was stored."""
    paging.memory.write(FIRST, FILLED[: 3 * PAGE])
    for is_there, address, frame in zip(present, (HERE, THERE), (FIRST, THIRD), strict=True):
        paging.map(SV39, address, frame, RWX if is_there else 0)
    address = THERE - 2
    cause = 15 if name in ("sw", "sd", "fsd") else 13
    value = THERE if present[0] else address
    assert paging.access(name, address, value=(1 << 64) - 1) == Seen(cause, value)
    assert paging.memory.read(FIRST, 3 * PAGE) == FILLED[: 3 * PAGE]


def test_an_access_gathers_from_two_pages(paging: Paging) -> None:
    paging.map(SV39, HERE, THIRD, RWX)
    paging.map(SV39, THERE, FIRST, RWX)
    for split in range(1, 8):
        address = THERE - split
        stored = 0x0102030405060708
        assert paging.access("sd", address, value=stored).cause is None
        whole = paging.memory.read(THIRD + PAGE - split, split) + paging.memory.read(
            FIRST, 8 - split
        )
        assert int.from_bytes(whole, "little") == stored
        assert paging.access("ld", address) == Seen(None, stored)


def test_half_an_instruction_is_none(paging: Paging) -> None:
    paging.map(SV39, HERE, FIRST, RWX)
    where = paging.map(SV39, THERE, THIRD, 0)
    start = THERE - 2
    code = assemble("addi", rd=5, imm=77)
    paging.memory.write(FIRST + PAGE - 2, code[:2])
    paging.memory.write(THIRD, code[2:])
    paging.hart.fence_i()
    assert paging.access(FETCH, start) == Seen(12, THERE)
    assert paging.hart.read_csr(MEPC) == start
    paging.write(where, THIRD >> 12 << 10 | RWX)
    paging.fence()
    assert paging.access(FETCH, start).value == int.from_bytes(code, "little")
    assert paging.hart.x[5] == 77


def test_a_short_instruction_at_the_end_needs_one_page(paging: Paging) -> None:
    paging.map(SV39, HERE, FIRST, RWX)
    paging.memory.write(FIRST + PAGE - 2, b"\x01\x00")  # c.nop
    paging.hart.fence_i()
    assert paging.access(FETCH, THERE - 2) == Seen(None, 1)


# -- physical memory protection ----------------------------------------------------------------

READ, WRITE, EXECUTE, NAPOT = 1, 2, 4, 3 << 3


def protect(paging: Paging, address: int, allowed: int) -> None:
    """One page has these rights, all else all."""
    paging.hart.write_csr(PMPADDR0, address >> 2 | PAGE // 8 - 1)
    paging.hart.write_csr(PMPADDR0 + 1, (1 << 54) - 1)
    paging.hart.write_csr(PMPCFG0, NAPOT | allowed | (NAPOT | 7) << 8)


@pytest.mark.parametrize("name", KINDS)
def test_tables_that_may_not_be_read_are_access_faults(paging: Paging, name: str) -> None:
    """As for a supervisor, even if M-mode does the access by MPRV."""
    where = paging.map(SV39, HERE, FIRST, RWX)
    protect(paging, where & -PAGE, 0)
    assert paging.access(name, HERE) == Seen(ACCESS_FAULT[name], HERE)
    if name != FETCH:
        assert paging.access(name, HERE, by_mprv=True) == Seen(ACCESS_FAULT[name], HERE)
    protect(paging, where & -PAGE, READ)
    assert paging.access(name, HERE).cause is None


@pytest.mark.parametrize("name", KINDS)
def test_marking_an_entry_needs_the_right_to_write_it(paging: Paging, name: str) -> None:
    where = paging.map(SV39, HERE, FIRST, V | R | W | X)
    protect(paging, where & -PAGE, READ)
    assert paging.access(name, HERE) == Seen(ACCESS_FAULT[name], HERE)
    assert paging.read(where) & (ACCESSED | DIRTY) == 0
    protect(paging, where & -PAGE, READ | WRITE)
    assert paging.access(name, HERE).cause is None


@pytest.mark.parametrize("name", KINDS)
def test_the_page_itself_is_protected(paging: Paging, name: str) -> None:
    paging.map(SV39, HERE, FIRST, RWX)
    assert paging.access(name, HERE).cause is None
    needed = {FETCH: EXECUTE, "lw": READ, "lr.w": READ}.get(name, READ | WRITE)
    for allowed in (0, READ, EXECUTE, READ | WRITE, READ | EXECUTE, READ | WRITE | EXECUTE):
        protect(paging, FIRST, allowed)
        is_allowed = allowed & needed == needed
        assert (paging.access(name, HERE).cause is None) == is_allowed
        assert is_allowed or paging.access(name, HERE) == Seen(ACCESS_FAULT[name], HERE)


# -- what is kept, and until when --------------------------------------------------------------


def remap(paging: Paging, where: int, frame: int, flags: int = RWX) -> None:
    paging.write(where, frame >> 12 << 10 | flags)


@pytest.mark.parametrize("address_given", [False, True])
@pytest.mark.parametrize("asid_given", [False, True])
def test_a_fence_shows_what_was_mapped(
    paging: Paging, address_given: bool, asid_given: bool
) -> None:
    paging.use(SV39, asid=5)
    where = paging.map(SV39, HERE, FIRST, RWX)
    frames = [(FIRST, 0), (SECOND, 1), (THIRD, 2)]
    for frame, page in frames:
        remap(paging, where, frame)
        paging.fence(HERE * address_given, 5 * asid_given)
        assert paging.load(HERE) == page
        assert paging.access("lr.w", HERE).value == mark_of(page)
        assert paging.access(FETCH, HERE).value == mark_of(page)
        assert paging.access("sw", HERE, value=mark_of(page)).cause is None


@pytest.mark.parametrize(("mode", "level"), ENTRIES_OF_ANOTHER_SIZE)
def test_a_fence_by_address_forgets_all_of_a_superpage(
    paging: Paging, mode: int, level: int
) -> None:
    """One address of it is enough, whichever pages of it were used."""
    in_mode(paging, mode)
    size = 1 << 12 + 9 * level
    frame = RAM // size * size
    start = 5 * size
    where = paging.map(mode, start, frame, RWX, level)
    used = [start + RAM - frame + page * PAGE for page in (0, 1, 300, 511)]
    assert [paging.load(address) for address in used] == [0, 1, 300, 511]
    assert all(paging.access(FETCH, address).cause is None for address in used)
    paging.write(where, 0)
    paging.fence(start + size - 8)
    for address in used:
        assert paging.load(address) is None
        assert paging.access(FETCH, address).cause == 12


def test_a_fence_by_address_reaches_all_address_spaces_and_privileges(paging: Paging) -> None:
    where = paging.map(SV39, HERE, FIRST, RWXU)
    for asid in range(4):
        paging.use(SV39, asid)
        assert paging.load(HERE, USER) == 0
        assert paging.load(HERE, SUPERVISOR, SUM) == 0
    remap(paging, where, SECOND, RWXU)
    paging.fence(HERE)
    for asid in range(4):
        paging.use(SV39, asid)
        assert paging.load(HERE, USER) == 1
        assert paging.load(HERE, SUPERVISOR, SUM) == 1


def test_another_address_space_is_another(paging: Paging) -> None:
    """Two tables under two ASIDs, switched many times without a fence."""
    other = paging.new_table()
    paging.map(SV39, HERE, FIRST, RWX)
    paging.memory.write(other, paging.memory.read(ROOT, PAGE))
    branch = paging.new_table()
    leaf = paging.new_table()
    paging.write(other, branch >> 12 << 10 | V)
    paging.write(branch + (HERE >> 21) * 8, leaf >> 12 << 10 | V)
    paging.write(leaf, SECOND >> 12 << 10 | RWX)
    for _ in range(3):
        paging.use(SV39, 1, ROOT)
        assert (paging.load(HERE), paging.access(FETCH, HERE).value) == (0, mark_of(0))
        paging.use(SV39, 2, other)
        assert (paging.load(HERE), paging.access(FETCH, HERE).value) == (1, mark_of(1))
        paging.use(0)
        assert paging.access("lw", HERE, MACHINE).cause == 5


def test_more_address_spaces_than_views(paging: Paging) -> None:
    """Fifteen of them at three kinds of rights, each with its own page at the same address."""
    roots = []
    for asid in range(15):
        root, branch, leaf = (paging.new_table() for _ in range(3))
        paging.memory.write(root, paging.memory.read(ROOT, PAGE))
        paging.write(root, branch >> 12 << 10 | V)
        paging.write(branch + (HERE >> 21) * 8, leaf >> 12 << 10 | V)
        paging.write(leaf, (RAM >> 12) + asid << 10 | RWXU)
        roots.append(root)
    for _ in range(3):
        for asid, root in enumerate(roots):
            paging.use(SV39, asid, root)
            assert paging.load(HERE, USER) == asid
            assert paging.load(HERE, SUPERVISOR, SUM) == asid
            assert paging.load(HERE, SUPERVISOR) is None


def test_a_global_page_is_seen_in_every_address_space(paging: Paging) -> None:
    where = paging.map(SV39, HERE, FIRST, RWX | GLOBAL)
    for asid in range(3):
        paging.use(SV39, asid)
        assert paging.load(HERE) == 0
    remap(paging, where, SECOND, RWX | GLOBAL)
    paging.fence()
    for asid in range(3):
        paging.use(SV39, asid)
        assert paging.load(HERE) == 1


@pytest.mark.parametrize("by", ["range", "all", "asid", "large range"])
def test_what_the_board_flushes_is_forgotten(paging: Paging, by: str) -> None:
    """A remote fence that came by an SBI call."""
    paging.use(SV39, 3)
    where = paging.map(SV39, HERE, FIRST, RWX)
    assert paging.load(HERE) == 0
    remap(paging, where, SECOND)
    arguments: dict[str, tuple[int | None, int | None, int | None]] = {
        "range": (HERE - PAGE, 3 * PAGE, None),
        "all": (None, None, None),
        "asid": (None, None, 3),
        "large range": (0, 1 << 39, None),
    }
    paging.hart.flush_tlb(*arguments[by])
    assert paging.load(HERE) == 1


def test_rights_change_with_status_without_a_fence(paging: Paging) -> None:
    """SUM and MXR take effect at once, on pages that are in the TLB."""
    paging.map(SV39, HERE, FIRST, V | X | U | ACCESSED)
    for _ in range(3):
        assert paging.load(HERE, USER, MXR) == 0
        assert paging.load(HERE, USER) is None
        assert paging.load(HERE, SUPERVISOR, MXR) is None
        assert paging.load(HERE, SUPERVISOR, MXR | SUM) == 0


def test_translation_goes_on_with_the_next_instruction(paging: Paging) -> None:
    """satp written by a program that is mapped where it is: what follows is fetched anew."""
    satp = paging.use(SV39)
    paging.use(0)
    paging.map(SV39, FIRST, FIRST, RWX)
    paging.map(SV39, SECOND, THIRD, RWX)
    code = (
        assemble("lw", rd=6, rs1=5, imm=0),
        assemble("csrrw", rs1=7, csr=SATP),
        assemble("lw", rd=8, rs1=5, imm=0),
        assemble("csrrw", rs1=0, csr=SATP),
        assemble("lw", rd=9, rs1=5, imm=0),
        assemble("wfi"),
    )
    paging.memory.write(FIRST, b"".join(code))
    hart = paging.hart
    hart.fence_i()
    hart.x[5], hart.x[7] = SECOND, satp
    hart.pc, hart.privilege = FIRST, SUPERVISOR
    hart.run(100_000)
    assert hart.pc == FIRST + 24
    assert [hart.x[n] >> 12 & 0xFFFFF for n in (6, 8, 9)] == [1, 2, 1]


def test_an_unknown_mode_leaves_satp_alone(paging: Paging) -> None:
    satp = paging.use(SV39, 7)
    for mode in {*range(16)} - {0, SV39, SV48}:
        paging.hart.write_csr(SATP, mode << 60 | 1)
        assert paging.hart.read_csr(SATP) == satp
