"""A hart as a Python object: a processor that runs guest code, usable with a bare memory.

memory = GuestMemory(0x80000000, 1 << 20)
memory.write(0x80000000, code)
hart = Hart(0, memory, AddressSpace())
hart.pc = 0x80000000
hart.run(limit=1000)
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import MutableSequence

from maquina.cpu.riscv import entry_points
from maquina.cpu.riscv.causes import (
    ADUE,
    EXIT_CALL,
    EXIT_IDLE,
    EXIT_LIMIT,
    EXIT_STOP,
    MACHINE,
    MTI,
    SSI,
    STCE,
    STI,
)
from maquina.cpu.riscv.code_map import Block, CodeMap
from maquina.cpu.riscv.csr_numbers import MCYCLE, MENVCFG, MIE, MINSTRET, STIMECMP
from maquina.cpu.riscv.entry_points import Accel
from maquina.cpu.riscv.register_file import Registers
from maquina.cpu.riscv.state import (
    CODE_PAGE_STRIDE,
    FORGET_ALL,
    STOP,
    VIEWS,
    CodePage,
    HartState,
    View,
)
from maquina.cpu.riscv.time import NANOSECONDS_PER_TICK
from maquina.jit import u64
from maquina.machine.bell import Bell
from maquina.machine.bus import AddressSpace
from maquina.machine.memory import GuestMemory
from maquina.machine.vcpu import Exit

CODE_PAGES = 1280
"""Pages of guest code whose decoded form is kept: 5 MiB of code in 45 MiB of host memory. When
they are used up all are forgotten; what is still needed is decoded again in a millisecond."""

EXITS = {
    EXIT_LIMIT.value: Exit.LIMIT,
    EXIT_IDLE.value: Exit.IDLE,
    EXIT_CALL.value: Exit.CALL,
    EXIT_STOP.value: Exit.STOPPED,
}
ENTRIES = (
    "run",
    "post",
    "ask",
    "note_write",
    "catch_up",
    "read_csr",
    "write_csr",
    "pending_interrupts",
    "forget_views",
    "forget_address_space",
    "forget_page",
)
LONGEST_SLICE = {"interp": 100_000, "reference": 2_000}
"""Instructions between looks at timers, interrupts and requests: a fraction of a millisecond, and
some hundredths of a second in CPython."""

NEVER = (1 << 64) - 1
LARGEST_TARGETED_FLUSH = 64
"""Pages: beyond so many, forgetting everything is cheaper than one by one."""

MmioRead = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_uint64, ctypes.c_uint64)
MmioWrite = ctypes.CFUNCTYPE(None, ctypes.c_uint64, ctypes.c_uint64, ctypes.c_uint64)


class Hart:
    """A RISC-V hart: RV64GC_Zba_Zbb_Zbs with M, S and U modes.

    `run` is called by one thread at a time. `stop`, `set_interrupt` and `wait` may be called
    from any thread; everything else only while the hart does not run.
    """

    def __init__(
        self,
        hart_id: int,
        memory: GuestMemory,
        bus: AddressSpace,
        accel: Accel = "interp",
        code_map: CodeMap | None = None,
    ) -> None:
        self._memory, self._bus, self.accel = memory, bus, accel
        self._code_map = code_map or CodeMap(memory)
        self._block = Block(HartState.size)
        self._code_pool = Block(CODE_PAGES * CODE_PAGE_STRIDE, CODE_PAGE_STRIDE)
        self._scratch = Block(CODE_PAGE_STRIDE, CODE_PAGE_STRIDE)
        self._versions_of_others = Block(8 * 64)
        self._bell = Bell()
        self._error: BaseException | None = None
        self._read, self._write = MmioRead(self._mmio_read), MmioWrite(self._mmio_write)
        self.state = HartState.at(u64(self._block.address))
        self._calls = {name: entry_points.call(name, accel) for name in ENTRIES}
        self._connect(hart_id)
        self.x: MutableSequence[int] = Registers(self.state.x.address.value, True)
        self.f: MutableSequence[int] = Registers(self.state.f.address.value, False)
        memory.on_code_written.append(self._note_write)
        self.reset()

    def _connect(self, hart_id: int) -> None:
        """Tell native code where everything is."""
        state, memory = self.state, self._memory
        libc = ctypes.CDLL(None)
        views = state.views[0]
        ctypes.memset(views.address.value, 0xFF, VIEWS * View.size)  # unused, without any tag
        state.hart_id = u64(hart_id)
        state.longest_slice = u64(LONGEST_SLICE[self.accel])
        state.memory = u64(memory.host_address)
        state.memory_base = u64(memory.base)
        state.memory_size = u64(memory.size)
        state.mmio_read = u64(ctypes.cast(self._read, ctypes.c_void_p).value or 0)
        state.mmio_write = u64(ctypes.cast(self._write, ctypes.c_void_p).value or 0)
        state.clock_gettime = u64(ctypes.cast(libc.clock_gettime, ctypes.c_void_p).value or 0)
        state.clock_origin = u64(time.monotonic_ns())
        state.code_pages = type(state.code_pages)(u64(self._code_map.pages))
        state.code_versions = type(state.code_versions)(u64(self._code_map.versions.address))
        state.code_changes = type(state.code_changes)(u64(self._code_map.changes.address))
        index = Block(self._code_map.versions.size)
        self._code_index = index
        state.code_index = type(state.code_index)(u64(index.address))
        state.code_pool = u64(self._code_pool.address)
        state.code_pool_size = u64(self._code_pool.size)
        state.scratch = u64(self._scratch.address)
        state.decode_handler = entry_points.handler("decode", self.accel)
        state.continue_handler = entry_points.handler("go_on", self.accel)

    # -- running -------------------------------------------------------------------------------

    def reset(self) -> None:
        """The state after power-on: M-mode, interrupts and translation off, timers never due."""
        state = self.state
        state.privilege = u64(MACHINE)
        state.mtimecmp = u64(NEVER)
        state.csr[STIMECMP] = u64(NEVER)
        state.csr[MENVCFG] = u64(ADUE)
        self._calls["forget_views"](state.address.value)

    def run(self, limit: int) -> Exit:
        """Execute until an exit, at most `limit` instructions, traps counted as one each.

        Raises what a device raised.
        """
        state = self.state
        state.limit = u64(min(state.spent.value + limit, NEVER))
        self._calls["run"](state.address.value)
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        return EXITS[state.exit.value]

    def step(self) -> Exit:
        """Execute one instruction, or take one trap or interrupt."""
        return self.run(1)

    @property
    def last_word(self) -> int:
        """The instruction that the last `step` executed."""
        return CodePage.at(self.state.scratch).word.value

    def stop(self) -> None:
        """Make the present or else the next `run` or `wait` return. Any thread may call it."""
        self._calls["ask"](self.state.address.value, STOP)
        self._bell.ring()

    def wait(self, timeout_s: float | None) -> None:
        """Return when an interrupt is pending, or after `stop`, or when the time is over."""
        if not self.has_pending_interrupt and not self.state.requests[0].value:
            self._bell.wait(timeout_s)

    @property
    def has_pending_interrupt(self) -> bool:
        """Whether an interrupt that `wfi` waits for is pending, be it enabled globally or not."""
        return bool(self._calls["pending_interrupts"](self.state.address.value))

    def set_interrupt(self, bit: int, level: bool) -> None:
        """Drive a bit of mip. The supervisor software interrupt is only ever raised."""
        address = self.state.address.value
        if bit == SSI:
            if level:
                self._calls["post"](address, 1 << bit)
        else:
            with self._bus.lock:
                lines = self.state.lines.value & ~(1 << bit) | level << bit
                self.state.lines = u64(lines)
        if level:
            self._bell.ring()

    def set_timer(self, ticks: int) -> None:
        """mtimecmp: assert the machine timer interrupt when `time` reaches this."""
        self.state.mtimecmp = u64(ticks)
        self._bell.ring()

    def timer_deadline(self) -> float | None:
        """When the next timer interrupt is due, in seconds of `time.monotonic`."""
        state = self.state
        enabled = state.csr[MIE].value
        due = NEVER
        if enabled >> STI & 1 and state.csr[MENVCFG].value & STCE:
            due = min(due, state.csr[STIMECMP].value)
        if enabled >> MTI & 1:
            due = min(due, state.mtimecmp.value)
        if due == NEVER:
            return None
        return (state.clock_origin.value + due * NANOSECONDS_PER_TICK) / 1e9

    # -- state ---------------------------------------------------------------------------------

    @property
    def pc(self) -> int:
        """The address of the next instruction."""
        return self.state.pc.value

    @pc.setter
    def pc(self, address: int) -> None:
        self.state.pc = u64(address)

    @property
    def privilege(self) -> int:
        """0 user, 1 supervisor, 3 machine."""
        return self.state.privilege.value

    @privilege.setter
    def privilege(self, level: int) -> None:
        self.state.privilege = u64(level)

    @property
    def answers_sbi(self) -> bool:
        """Whether a call from S-mode leaves `run` with Exit.CALL instead of trapping to M-mode."""
        return self.state.is_sbi.value != 0

    @answers_sbi.setter
    def answers_sbi(self, answers: bool) -> None:
        self.state.is_sbi = u64(answers)

    @property
    def instructions(self) -> int:
        """Instructions retired since power-on, up to the present slice."""
        return self.state.retired.value

    def read_csr(self, number: int) -> int:
        """A control and status register, as M-mode reads it."""
        return int(self._calls["read_csr"](self.state.address.value, number))

    def write_csr(self, number: int, value: int) -> None:
        """Write a register as M-mode would."""
        if number in (MCYCLE, MINSTRET):
            value += 1  # the instruction that writes a counter is not counted, and here is none
        self._calls["write_csr"](self.state.address.value, number, value)
        if self.state.changed.value == FORGET_ALL:
            self._calls["forget_views"](self.state.address.value)
        self.state.changed = u64(0)

    def flush_tlb(self, address: int | None, size: int | None, asid: int | None) -> None:
        """Forget translations: of a range or all, of an address space or all."""
        state = self.state.address.value
        if address is None or size is None or size > LARGEST_TARGETED_FLUSH << 12:
            if asid is None:
                self._calls["forget_views"](state)
            else:
                self._calls["forget_address_space"](state, asid)
            return
        for page in range(address & ~0xFFF, address + size, 0x1000):
            self._calls["forget_page"](state, page)

    def fence_i(self) -> None:
        """Notice what others have written to code."""
        self._calls["catch_up"](self.state.address.value)

    # -- what native code calls ----------------------------------------------------------------

    def _note_write(self, address: int, size: int) -> None:
        offset = address - self._memory.base
        self._calls["note_write"](self.state.address.value, offset, size)

    def _mmio_read(self, address: int, size: int) -> int:
        try:
            value = self._bus.read(address, size)
        except BaseException as error:
            self._fail(error)
            return 0
        if value is None:
            self.state.mmio_fault = u64(1)
            return 0
        return value

    def _mmio_write(self, address: int, size: int, value: int) -> None:
        try:
            found = self._bus.write(address, size, value)
        except BaseException as error:
            self._fail(error)
            return
        if not found:
            self.state.mmio_fault = u64(1)

    def _fail(self, error: BaseException) -> None:
        """Carry an exception across native code to the caller of `run`."""
        self._error = self._error or error
        self.stop()


def connect(harts: list[Hart]) -> Block:
    """Let harts of one machine tell each other what they have decoded. Keep the result."""
    table = Block(8 * max(1, len(harts) ** 2))
    for row, hart in enumerate(harts):
        peers = [other for other in harts if other is not hart]
        place = (ctypes.c_uint64 * len(harts)).from_address(table.address + 8 * row * len(harts))
        for column, peer in enumerate(peers):
            place[column] = peer.state.address.value
        hart.state.peers = type(hart.state.peers)(u64(ctypes.addressof(place)))
        hart.state.peer_count = u64(len(peers))
    return table
