"""Decoded instructions stay true to memory, whoever changes it."""

from __future__ import annotations

import pytest
from tests.cpu.riscv.bench_machine import CODE, DATA, MSTATUS, Bench, assemble, program

from maquina.cpu.riscv import hart as hart_module
from maquina.cpu.riscv.code_map import CodeMap
from maquina.cpu.riscv.hart import Hart, connect
from maquina.cpu.riscv.state import CODE_PAGE_STRIDE
from maquina.jit import u64
from maquina.machine.bus import AddressSpace
from maquina.machine.memory import GuestMemory
from maquina.machine.vcpu import Exit

A0, A1, A2, A3 = 10, 11, 12, 13
WFI = assemble("wfi")
PAGE = 0x1000


def word(instruction: bytes) -> int:
    return int.from_bytes(instruction, "little")


@pytest.fixture
def bench() -> Bench:
    return Bench()


def run(bench: Bench, code: bytes, pc: int = CODE, **registers: int) -> None:
    """Until `wfi`."""
    bench.memory.write(pc, code)
    bench.hart.fence_i()
    bench.hart.pc = pc
    for name, value in registers.items():
        bench.hart.x[int(name[1:])] = value
    assert bench.hart.run(10_000) is Exit.IDLE


def test_a_hart_sees_its_own_stores_to_code_at_once(bench: Bench) -> None:
    """The store changes the very next instruction, which was executed before."""
    patched = assemble("addi", rd=A0, rs1=A0, imm=100)
    loop = program(
        assemble("addi", rd=A2, rs1=A2, imm=-1),
        assemble("sw", rs1=A1, rs2=A3, imm=12),
        assemble("addi", rd=0, rs1=0, imm=0),
        assemble("addi", rd=A0, rs1=A0, imm=1),
        assemble("bne", rs1=A2, rs2=0, imm=-16),
        WFI,
    )
    run(bench, program(*[loop]), x10=0, x11=CODE, x12=1, x13=word(patched))
    assert bench.hart.x[A0] == 100
    run(bench, loop, x10=0, x12=3)
    assert bench.hart.x[A0] == 300


def test_half_of_an_instruction_can_be_overwritten(bench: Bench) -> None:
    code = program(
        assemble("sh", rs1=A1, rs2=A3, imm=6), assemble("addi", rd=A0, rs1=0, imm=1), WFI
    )
    run(bench, code, x11=CODE, x13=word(assemble("addi", rd=A0, rs1=0, imm=5)) >> 16)
    assert bench.hart.x[A0] == 5


def test_a_page_of_variables_beside_code_becomes_fast_again(bench: Bench) -> None:
    """More stores into the page than MIXED_PAGE_STORES, then the code is executed again."""
    loop = program(
        assemble("sd", rs1=A1, rs2=A2, imm=0x700),
        assemble("addi", rd=A2, rs1=A2, imm=-1),
        assemble("bne", rs1=A2, rs2=0, imm=-8),
        WFI,
    )
    run(bench, loop, x11=CODE, x12=1000)
    assert bench.hart.x[A2] == 0
    assert bench.memory.read(CODE + 0x700, 8) == (1).to_bytes(8, "little")
    run(bench, program(assemble("addi", rd=A0, rs1=0, imm=7), WFI))
    assert bench.hart.x[A0] == 7


def test_what_a_device_writes_is_executed_after_fence_i(bench: Bench) -> None:
    run(bench, program(assemble("addi", rd=A0, rs1=0, imm=1), WFI))
    bench.memory.write(CODE, assemble("addi", rd=A0, rs1=0, imm=2))
    bench.hart.pc = CODE
    bench.hart.fence_i()
    bench.hart.run(10)
    assert bench.hart.x[A0] == 2


def test_instructions_may_cross_pages(bench: Bench) -> None:
    """Its second half changes without its first."""
    start = CODE + PAGE - 2
    run(bench, program(assemble("addi", rd=A0, rs1=0, imm=1), WFI), pc=start)
    assert bench.hart.x[A0] == 1
    bench.memory.write(
        start + 2, (word(assemble("addi", rd=A0, rs1=0, imm=2)) >> 16).to_bytes(2, "little")
    )
    bench.hart.pc = start
    bench.hart.run(10)
    assert bench.hart.x[A0] == 2
    assert bench.hart.pc == start + 8


def test_a_crossing_branch_goes_where_it_says(bench: Bench) -> None:
    start = CODE + PAGE - 2
    code = program(assemble("beq", imm=8), assemble("addi", rd=A0, rs1=0, imm=1), WFI)
    run(bench, code, pc=start, x10=0)
    assert bench.hart.x[A0] == 0
    run(bench, program(assemble("jal", rd=1, imm=8), WFI, WFI), pc=start)
    assert bench.hart.x[1] == start + 4


def test_code_that_does_not_fit_in_the_pool_is_decoded_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Three pages of code and room for two."""
    monkeypatch.setattr(hart_module, "CODE_PAGES", 2)
    bench = Bench()
    for page in range(3):
        following = assemble("jal", rd=0, imm=PAGE - 4 if page < 2 else -2 * PAGE - 4)
        bench.memory.write(
            CODE + page * PAGE, program(assemble("addi", rd=A0, rs1=A0, imm=1), following)
        )
    bench.hart.pc = CODE
    bench.hart.run(6000)
    assert bench.hart.x[A0] == 3000
    assert bench.hart.state.flushes.value > 100
    assert bench.hart.state.code_pool_used.value <= 2 * CODE_PAGE_STRIDE


def test_another_harts_stores_are_executed_after_fence_i() -> None:
    """The writer had the page open for stores before the reader made it code."""
    memory, bus = GuestMemory(CODE, 1 << 16), AddressSpace()
    shared = CodeMap(memory)
    reader, writer = (Hart(n, memory, bus, code_map=shared) for n in range(2))
    table = connect([reader, writer])
    target, store = CODE, DATA
    memory.write(target, program(assemble("addi", rd=A0, rs1=0, imm=1), WFI))
    memory.write(store, program(assemble("sw", rs1=A1, rs2=A3, imm=0), WFI))
    writer.x[A1], writer.x[A3] = target, word(assemble("addi", rd=A0, rs1=0, imm=1))
    writer.pc = store
    assert writer.run(100) is Exit.IDLE
    reader.pc = target
    assert reader.run(100) is Exit.IDLE
    assert reader.x[A0] == 1
    writer.x[A3], writer.pc = word(assemble("addi", rd=A0, rs1=0, imm=9)), store
    assert writer.run(100) is Exit.IDLE
    reader.fence_i()
    reader.pc = target
    assert reader.run(100) is Exit.IDLE
    assert reader.x[A0] == 9
    assert table.size


def test_limits_are_kept_to_the_instruction(bench: Bench) -> None:
    bench.memory.write(CODE, assemble("jal", rd=0, imm=0))
    bench.hart.pc = CODE
    for limit in (1, 2, 100, 8191, 8192, 8193, 123_457):
        before = bench.hart.instructions
        assert bench.hart.run(limit) is Exit.LIMIT
        assert bench.hart.instructions - before == limit


def test_a_trap_without_a_handler_spends_the_limit(bench: Bench) -> None:
    """A guest that traps forever retires nothing, and still stops."""
    bench.hart.pc = 0
    assert bench.hart.run(100_000) is Exit.LIMIT
    assert bench.hart.instructions == 0
    assert bench.hart.read_csr(MSTATUS) >> 11 & 3 == 3


def test_state_words_are_where_python_looks(bench: Bench) -> None:
    bench.hart.x[5] = 0x1234
    assert bench.hart.state.x[5] == u64(0x1234)
    bench.hart.x[0] = 7
    assert bench.hart.x[0] == 0
