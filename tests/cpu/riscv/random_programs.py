"""Random programs that use everything a hart has, and handlers that keep them going.

A program loops over random instructions: integer, compressed, atomic, floating-point, CSR, some
words at random. What traps lands in a handler in M-mode or, if delegated, in S-mode, which skips
the instruction and goes on in a privilege mode that depends on what happened so far. After some
traps (each pass ends in one) the handler ends the program with `wfi`.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from tests.cpu.riscv.bench_machine import CODE, DATA, DATA_BYTES, MEMORY, assemble, pick

from maquina.cpu.riscv import csr_numbers as csr
from maquina.cpu.riscv.csr import WRITABLE
from maquina.cpu.riscv.entry_points import Accel
from maquina.cpu.riscv.hart import Hart
from maquina.cpu.riscv.isa import TABLE
from maquina.cpu.riscv.rv_c import EXPANSIONS
from maquina.cpu.riscv.table import Instruction, Kind
from maquina.jit import u64
from maquina.machine.bus import AddressSpace
from maquina.machine.memory import GuestMemory
from maquina.machine.vcpu import Exit

MACHINE_HANDLER, SUPERVISOR_HANDLER = CODE + 0x4000, CODE + 0x5000
BASE, ODD_BASE, CODE_BASE, TRAPS_LEFT = 31, 26, 25, 24
KEPT = (BASE, ODD_BASE, CODE_BASE, TRAPS_LEFT)
"""Registers that programs do not change: where data and code are, and when to end."""
T0, T1, MIX = 28, 29, 30
"""Registers of the handlers; MIX gathers what they saw."""
ENOUGH = 8192 + 6000
"""Instructions, of which the last 8192 are executed one at a time."""
FS_ON, MPP_SHIFT = 3 << 13, 11
LEFT_ALONE = (
    *(csr.MTVEC, csr.STVEC, csr.SATP, csr.MIP),
    *range(csr.PMPCFG0, csr.PMPADDR0 + 64),
)
"""Registers that a program would only hang itself with; mip would depend on slices."""

VALUES = [
    line for line in TABLE if line.kind is Kind.VALUE and "mem" not in line.semantics.parameters
]
PLAIN = [line for line in VALUES if not line.is_floating and line.encoding.fields]
FLOATS = [line for line in VALUES if line.is_floating]
MEMORY_LINES = [line for line in TABLE if "mem" in line.semantics.parameters]
ATOMICS = [line for line in MEMORY_LINES if "imm" not in line.encoding.fields]
ACCESSES = [line for line in MEMORY_LINES if "imm" in line.encoding.fields]
BRANCHES = [line for line in TABLE if line.kind is Kind.BRANCH or line.name == "jal"]
CSRS = [line for line in TABLE if "csr" in line.encoding.fields]
SYSTEM = [
    line for line in TABLE if line.name in ("ecall", "ebreak", "sfence.vma", "fence.i", "wfi")
]


@dataclass(frozen=True)
class Program:
    """What a hart starts with."""

    seed: str
    code: bytes
    x: list[int]
    f: list[int]
    data: bytes
    csrs: dict[int, int]


def destination(source: random.Random) -> int:
    return source.choice([n for n in range(32) if n not in KEPT])


def operands(line: Instruction, source: random.Random) -> dict[str, int]:
    values = {
        "rd": destination(source),
        "rs1": source.randrange(32),
        "rs2": source.randrange(32),
        "frd": source.randrange(32),
        "frs1": source.randrange(32),
        "frs2": source.randrange(32),
        "frs3": source.randrange(32),
        "shamt": source.randrange(64),
        "shamtw": source.randrange(32),
        "uimm": source.randrange(32),
        "rm": source.choice((*range(5), *(7,) * 14, source.randrange(8))),
        "imm": source.randrange(-2048, 2048),
    }
    if any(width == 20 for _, width, _ in line.encoding.slices):
        values["imm"] = source.getrandbits(20) << 12
    return {name: value for name, value in values.items() if name in line.encoding.fields}


def plain(source: random.Random) -> bytes:
    line = source.choice(PLAIN)
    return assemble(line.name, **operands(line, source))


def floating(source: random.Random) -> bytes:
    line = source.choice(FLOATS)
    return assemble(line.name, **operands(line, source))


def access(source: random.Random) -> bytes:
    """A load or store: of data, aligned or not; of code; rarely anywhere."""
    line = source.choice(ACCESSES)
    base = source.choice((BASE, BASE, BASE, ODD_BASE, ODD_BASE, source.randrange(32)))
    values = operands(line, source) | {"rs1": base}
    if source.random() < 0.03:
        values |= {"rs1": CODE_BASE, "imm": 2 * source.randrange(200)}
    return assemble(line.name, **values)


def atomic(source: random.Random) -> bytes:
    line = source.choice(ATOMICS)
    base = source.choice((BASE,) * 6 + (ODD_BASE, source.randrange(32)))
    return assemble(line.name, **operands(line, source) | {"rs1": base})


def branch(source: random.Random) -> bytes:
    line = source.choice(BRANCHES)
    return assemble(line.name, **operands(line, source) | {"imm": 2 * source.randrange(2, 24)})


def short(source: random.Random) -> bytes:
    """A compressed instruction that does not jump and keeps the registers that must be."""
    while True:
        line = source.choice(EXPANSIONS)
        half = source.getrandbits(16) & ~line.mask | line.match
        is_jump = line.name.split(".")[1] in ("j", "jr", "jalr", "beqz", "bnez")
        if not is_jump and half >> 7 & 31 not in KEPT:
            return half.to_bytes(2, "little")


def register(source: random.Random) -> bytes:
    """An access to a CSR that exists, to the floating-point ones in half of the cases."""
    number = source.choice([n for n in WRITABLE if n not in LEFT_ALONE])
    if source.random() < 0.5:
        number = source.choice((csr.FFLAGS, csr.FRM, csr.FCSR, csr.MSTATUS, csr.SSTATUS))
    line = source.choice(CSRS)
    return assemble(line.name, **operands(line, source) | {"csr": number})


def system(source: random.Random) -> bytes:
    line = source.choice(SYSTEM)
    return assemble(line.name, **operands(line, source))


def noise(source: random.Random) -> bytes:
    return source.randbytes(source.choice((2, 4)))


def jump(source: random.Random) -> bytes:
    """Over one instruction, by way of a register."""
    link = source.choice([n for n in range(1, 32) if n not in KEPT])
    return (
        assemble("auipc", rd=T0, imm=0) + assemble("jalr", rd=link, rs1=T0, imm=12) + plain(source)
    )


def switch(source: random.Random) -> bytes:
    """`mret` or `sret` to what follows."""
    way, register = source.choice((("mret", csr.MEPC), ("sret", csr.SEPC)))
    return (
        assemble("auipc", rd=T0, imm=0)
        + assemble("addi", rd=T0, rs1=T0, imm=16)
        + assemble("csrrw", rd=0, rs1=T0, csr=register)
        + assemble(way)
    )


MAKERS = (
    *((plain, 30), (short, 20), (floating, 25), (access, 15), (atomic, 8), (branch, 12)),
    *((register, 7), (system, 2), (jump, 3), (switch, 2), (noise, 1)),
)


def handler(epc: int, cause: int, value: int, back: str) -> bytes:
    """A trap handler; the registers of its privilege mode are given."""
    skip = [
        assemble("csrrs", rd=T0, csr=epc),
        assemble("lhu", rd=T1, rs1=T0, imm=0),
        assemble("andi", rd=T1, rs1=T1, imm=3),
        assemble("sltiu", rd=T1, rs1=T1, imm=3),  # 1 if it is a short one
        assemble("xori", rd=T1, rs1=T1, imm=1),
        assemble("slli", rd=T1, rs1=T1, shamt=1),
        assemble("add", rd=T0, rs1=T0, rs2=T1),
        assemble("addi", rd=T0, rs1=T0, imm=2),
        assemble("csrrw", rs1=T0, csr=epc),
    ]
    gather = []
    for number in (cause, value, epc, csr.MINSTRET):
        if number != csr.MINSTRET or back == "mret":
            gather.append(assemble("csrrs", rd=T1, csr=number))
            gather.append(assemble("xor", rd=MIX, rs1=MIX, rs2=T1))
            gather.append(assemble("rori", rd=MIX, rs1=MIX, shamt=7))
    chosen = [
        assemble("lui", rd=T1, imm=3 << 12),  # mstatus.MPP and a bit below, which is SPP's at S
        assemble("srli", rd=T1, rs1=T1, shamt=1),
        assemble("and", rd=T0, rs1=MIX, rs2=T1),
        assemble("csrrc", rs1=T1, csr=csr.MSTATUS),
        assemble("csrrs", rs1=T0, csr=csr.MSTATUS),
    ]
    status = csr.MSTATUS if back == "mret" else csr.SSTATUS
    leave = [
        assemble("lui", rd=T1, imm=FS_ON),
        assemble("csrrs", rs1=T1, csr=status),  # so that floating point goes on
        assemble("addi", rd=TRAPS_LEFT, rs1=TRAPS_LEFT, imm=-1),
        assemble("bne", rs1=TRAPS_LEFT, rs2=0, imm=12),
        assemble("csrrwi", uimm=0, csr=csr.MIE if back == "mret" else csr.SIE),
        assemble("wfi"),
        *(chosen if back == "mret" else []),
        assemble(back),
    ]
    disable = [
        assemble("csrrwi", uimm=0, csr=csr.MIE if back == "mret" else csr.SIE),
        assemble("jal", imm=4 * len(skip) + 4),
    ]
    dispatch = [
        assemble("csrrs", rd=T0, csr=cause),
        assemble("bge", rs1=T0, rs2=0, imm=4 * len(disable) + 4),
    ]
    return b"".join((*gather, *dispatch, *disable, *skip, *leave))


HANDLERS = (
    (MACHINE_HANDLER, handler(csr.MEPC, csr.MCAUSE, csr.MTVAL, "mret")),
    (SUPERVISOR_HANDLER, handler(csr.SEPC, csr.SCAUSE, csr.STVAL, "sret")),
)


def make(seed: str, length: int = 120, traps: int = 30) -> Program:
    """A program from its seed."""
    source = random.Random(seed)
    makers, weights = zip(*MAKERS, strict=True)
    code = b"".join(chosen(source) for chosen in source.choices(makers, weights, k=length))
    code += assemble("ecall") * 2  # a jump may land in the middle of the first
    code += assemble("jal", imm=-len(code))
    x = [0, *(pick(source) for _ in range(31))]
    for number in (BASE, 2, 8, 9, 10):
        x[number] = DATA + DATA_BYTES // 2
    x[ODD_BASE] = x[BASE] + source.randrange(64)
    x[CODE_BASE], x[TRAPS_LEFT] = CODE + 256, traps
    f = [pick(source) | source.choice((0, 0, 0xFFFFFFFF << 32)) for _ in range(32)]
    csrs = {
        csr.MSTATUS: FS_ON,
        csr.MTVEC: MACHINE_HANDLER,
        csr.STVEC: SUPERVISOR_HANDLER,
        csr.PMPADDR0: (1 << 54) - 1,
        csr.PMPCFG0: 0x1F,
        csr.MEDELEG: source.choice((0, source.getrandbits(16))),
        csr.MCOUNTEREN: 7,
        csr.SCOUNTEREN: 7,
    }
    return Program(seed, code, x, f, source.randbytes(DATA_BYTES), csrs)


def prepare(program: Program, accel: Accel = "interp") -> tuple[Hart, GuestMemory]:
    """A fresh hart about to run it, whose time is its instruction count."""
    memory = GuestMemory(CODE, MEMORY)
    hart = Hart(0, memory, AddressSpace(), accel)
    hart.state.counts_time = u64(1)
    memory.write(CODE, program.code)
    memory.write(DATA, program.data)
    for address, code in HANDLERS:
        memory.write(address, code)
    for number, value in enumerate(program.x):
        hart.x[number] = value
    for number, value in enumerate(program.f):
        hart.f[number] = value
    for number, value in program.csrs.items():
        hart.write_csr(number, value)
    hart.pc = CODE
    return hart, memory


@dataclass(frozen=True)
class Outcome:
    """All that a guest could see of a hart."""

    exit: Exit | None
    pc: int
    privilege: int
    instructions: int
    x: list[int]
    f: list[int]
    csrs: dict[int, int]
    memory: bytes


def outcome(hart: Hart, memory: GuestMemory, reason: Exit | None) -> Outcome:
    return Outcome(
        reason,
        hart.pc,
        hart.privilege,
        hart.instructions,
        list(hart.x),
        list(hart.f),
        {number: hart.read_csr(number) for number in WRITABLE},
        memory.read(CODE, MEMORY),
    )


def instruction(source: random.Random) -> bytes:
    """One random instruction of the mixture."""
    makers, weights = zip(*MAKERS, strict=True)
    made: bytes = source.choices(makers, weights)[0](source)
    return made
