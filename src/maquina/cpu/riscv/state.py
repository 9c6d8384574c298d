"""The state of a hart as native code sees it, byte for byte.

A hart executes *records*: each two bytes of guest code have a 16-byte record that holds the
decoded instruction and the address of the function that runs it. The records of a 4 KiB page of
guest code form a *code page*; the program counter is implied by the current record:

    pc == hart.bias + (record.address >> 3)

where `bias` changes only when execution enters another page. A *view* is a TLB for one combination
of address space and privilege; changing the combination selects another view.
"""

from __future__ import annotations

from maquina.jit import Array, Ptr, Struct, array, s32, s64, u8, u32, u64

PAGE_BITS = 12
PAGE_MASK = (1 << PAGE_BITS) - 1
TLB_ENTRIES = 256
VIEWS = 16
"""Translations kept per hart: kernel, kernel with user access, user of about five processes."""

RECORDS_PER_PAGE = 1 << PAGE_BITS - 1
CODE_PAGE_STRIDE = 1 << 16
"""Code pages start at multiples of this, so that a record's address gives its page."""

DROP_CODE_STORES, STOP = 1, 2
"""Bits of `HartState.requests`: stop storing to pages that have become code without telling
anybody; leave native code."""

FORGET_ALL = 2
"""What `HartState.changed` is after physical memory protection has changed."""

NO_TAG = (1 << 64) - 1
"""A tag that no page has."""


class Record(Struct):
    """A decoded instruction. `rd` is 32 for x0, whose writes go to a word that nobody reads."""

    handler: u64
    immediate: s32
    rd: u8
    rs1: u8
    rs2: u8
    length: u8


class CodePage(Struct):
    """The records of one page of guest code.

    Behind the records stand two that continue in the next page: after an instruction that ends
    with the page, and after one that began in the page's last two bytes.
    """

    records: Array[Record] = array(RECORDS_PER_PAGE + 8)
    host: u64  # where the code is; 0 for the scratch page
    physical_page: u64  # index of the page in RAM
    is_marked: u64  # whether this hart has stores to the page noticed
    version: u64  # of the page's contents when records were last known to be right
    stores: u64  # into this page by this hart since then
    word: u64  # scratch page only: the instruction its record was made from


class TlbEntry(Struct):
    """A page of data: `tag` is its virtual address, `offset` what to add to get a host address."""

    tag: u64
    offset: u64


class FetchEntry(Struct):
    """A page of code: `tag` is its virtual address, `bias` what `hart.bias` is while in it."""

    tag: u64
    bias: u64


class View(Struct):
    """The memory as a hart sees it in one address space at one privilege."""

    load: Array[TlbEntry] = array(TLB_ENTRIES)
    store: Array[TlbEntry] = array(TLB_ENTRIES)
    fetch: Array[FetchEntry] = array(TLB_ENTRIES)
    hart: u64  # the hart's address
    satp: u64
    mode: u64  # see `view_mode`
    large_low: u64  # superpages in this view lie within [large_low, large_high)
    large_high: u64


class HartState(Struct):
    """Everything that instructions of one hart read or change."""

    x: Array[u64] = array(33)
    bias: u64
    budget: s64  # of instructions in this slice; up to date when native code is left
    slice: s64  # the budget that the slice began with
    longest_slice: u64  # instructions between looks at timers, interrupts and requests
    view: u64  # address of the current view
    changed: (
        u64  # set by an instruction after which view, privilege or interrupts must be looked at
    )
    privilege: u64
    fetch_privilege: u64  # the ones that the current view is for
    data_privilege: u64
    f: Array[u64] = array(32)

    pc: u64  # up to date when native code is left, and where it is entered
    cause: u64  # of the trap being taken
    value: u64
    exit: u64
    retired: u64  # instructions before this slice
    uncounted: u64  # budget that this slice spent on traps instead of instructions
    spent: u64  # instructions and traps before this slice
    limit: u64  # stop when `spent` reaches it
    is_sbi: u64  # whether S-mode's ecall leaves native code
    hart_id: u64

    lines: u64  # interrupts that devices assert, bits as in mip
    posted: Array[u64] = array(1)  # bits that other threads add to mip
    requests: Array[u64] = array(1)  # what other threads ask of this hart
    peers: Ptr[u64]  # addresses of the other harts' states
    peer_count: u64
    mtimecmp: u64
    counts_time: u64  # whether time is the instruction count
    clock: Array[u64] = array(2)  # a timespec
    clock_gettime: u64
    clock_origin: u64  # host nanoseconds at machine time 0

    reservation: u64  # host address of the reserved word, or 0
    reserved: u64  # its contents when it was loaded

    memory: u64  # host address of RAM
    memory_base: u64
    memory_size: u64
    mmio_read: u64  # C functions: see `memory`
    mmio_write: u64
    mmio_fault: u64

    code_pages: Ptr[u8]  # per page of RAM: 1 if some hart has decoded code from it
    code_versions: Ptr[u64]  # per page of RAM: raised whenever marked code was overwritten
    code_changes: Ptr[u64]  # of the machine: raised together with any of the versions
    seen_changes: u64  # up to which this hart has compared versions
    code_index: Ptr[u64]  # per page of RAM: this hart's code page, or 0
    code_pool: u64  # room for code pages
    code_pool_size: u64  # in bytes, a multiple of the stride
    code_pool_used: u64
    scratch: u64  # a code page for single instructions
    decode_handler: u64  # handlers of records that are no instruction
    continue_handler: u64

    frm: u32
    host_rounding: u32  # frm, or to nearest where the host cannot round as frm says
    host_environment: u32  # of the caller of native code
    is_in_environment: u64  # whether the host's environment is the guest's
    is_native: Array[u64] = array(1)  # whether the hart is in native code, where it may store
    fflags: u64  # flags raised before the host's floating-point environment was last loaded
    misses: u64
    decoded: u64
    flushes: u64
    next_view: u64

    pmp_count: u64
    pmp_low: Array[u64] = array(16)
    pmp_high: Array[u64] = array(16)
    pmp_flags: Array[u64] = array(16)

    csr: Array[u64] = array(4096)
    views: Array[View] = array(VIEWS)
