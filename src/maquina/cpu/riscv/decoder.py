"""From an instruction word to a record.

Opcode, funct3 and funct7 give a short list of candidates in the order of the table; the first that
matches is the instruction. Which function runs it also depends on its length and, for branches and
`jal`, on whether the target is in the same page, where a record's address is known.
"""

from __future__ import annotations

from maquina.cpu.riscv.isa import TABLE
from maquina.cpu.riscv.state import PAGE_MASK, Record
from maquina.cpu.riscv.table import Encoding, Kind, Slice
from maquina.jit import Native, Table, native, s32, u8, u16, u32, u64, unrolled

KEY_BITS = 15
VARIANTS = 4
"""Functions per instruction: (near << 1 | short)."""


def key_of(word: int) -> int:
    """opcode[6:2], funct3 and funct7."""
    return word >> 2 & 31 | (word >> 12 & 7) << 5 | (word >> 25 & 127) << 8


def candidates() -> tuple[list[int], list[int]]:
    """Where each key's list starts, and the lists of instruction numbers one after another."""
    by_key: list[list[int]] = [[] for _ in range(1 << KEY_BITS)]
    for number, line in enumerate(TABLE):
        bits, match = key_of(line.encoding.mask), key_of(line.encoding.match)
        free = ~bits & (1 << KEY_BITS) - 1
        key = free
        while True:
            by_key[match | key].append(number)
            if key == 0:
                break
            key = key - 1 & free
    starts: dict[tuple[int, ...], int] = {}
    lists: list[int] = []
    for numbers in by_key:
        if tuple(numbers) not in starts:
            starts[tuple(numbers)] = len(lists)
            lists.extend(numbers)
    return [starts[tuple(numbers)] for numbers in by_key], lists


STARTS, LISTS = candidates()
START = Table(u16, STARTS, "riscv.decode.start")
NUMBER = Table(u16, LISTS, "riscv.decode.number")
MASK = Table(u32, [TABLE[n].encoding.mask for n in LISTS], "riscv.decode.mask")
MATCH = Table(u32, [TABLE[n].encoding.match for n in LISTS], "riscv.decode.match")

FORMATS = tuple(dict.fromkeys((e.slices, e.is_signed) for e in (line.encoding for line in TABLE)))
WRITES_X, IS_RELATIVE = 1, 2


def flags(encoding: Encoding, kind: Kind) -> int:
    """What the decoder must know of an instruction besides its format."""
    relative = kind is Kind.BRANCH or (kind is Kind.JUMP and "rs1" not in encoding.fields)
    return WRITES_X * ("rd" in encoding.fields) | IS_RELATIVE * relative


FORMAT = Table(
    u8,
    [FORMATS.index((line.encoding.slices, line.encoding.is_signed)) for line in TABLE],
    "riscv.decode.format",
)
FLAGS = Table(u8, [flags(line.encoding, line.kind) for line in TABLE], "riscv.decode.flags")


def extractor(slices: tuple[Slice, ...], is_signed: bool) -> Native[[u32], s32]:
    """The immediate of one format."""
    top = max((start + width for _, width, start in slices), default=1)
    unused = 32 - top if is_signed else 0

    @native(inline=True)
    def immediate(word: u32) -> s32:
        value = u32(0)
        for at, width, start in unrolled(slices):
            value |= (word >> at & (1 << width) - 1) << start
        return s32(value << unused) >> unused

    return immediate


EXTRACTORS = tuple((n, extractor(*form)) for n, form in enumerate(FORMATS))


@native
def find(word: u32) -> u64:
    """The number of the instruction in the table; the last one is `illegal`."""
    key = word >> 2 & 31 | (word >> 12 & 7) << 5 | word >> 25 << 8
    at = u64(START[key])
    while word & MASK[at] != MATCH[at]:
        at += 1
    return u64(NUMBER[at])


@native
def fill(record: Record, word: u32, length: u8, offset: u64) -> u64:
    """Enter the operands of `word` at `offset` in its page (4096 if it has none) in `record`.

    The result is the index of its handler: instruction * VARIANTS + variant.
    """
    number = find(word) if word & 3 == 3 else u64(LAST)
    form = FORMAT[number]
    immediate = s32(0)
    for n, extract in unrolled(EXTRACTORS):
        if form == n:
            immediate = extract(word)
    traits = FLAGS[number]
    variant = u64(length == 2)
    is_near = offset <= PAGE_MASK and offset + u64(immediate) <= PAGE_MASK
    if traits & IS_RELATIVE != 0 and is_near:
        variant |= 2
    rd = u8(word >> 7 & 31)
    record.immediate = immediate
    record.rd = u8(32) if rd == 0 and traits & WRITES_X != 0 else rd
    record.rs1 = u8(word >> 15 & 31)
    record.rs2 = u8(word >> 20 & 31)
    record.length = length
    return number * VARIANTS + variant


LAST = len(TABLE) - 1
