"""The decoder against a plain search of the table, and the table against itself."""

from __future__ import annotations

import ctypes
import random
import struct

import pytest
from tests.cpu.riscv.random_programs import operands

from maquina.cpu.riscv.decoder import find
from maquina.cpu.riscv.isa import ILLEGAL, TABLE
from maquina.cpu.riscv.rv_c import EXPANSIONS, expand_compressed
from maquina.cpu.riscv.table import Instruction
from maquina.jit import Array, Library, Struct, array, native, span, u16, u32, u64

SEED = 20160531
WORDS = 1 << 20
LINES = [line for line in TABLE if line is not ILLEGAL]


class Batch(Struct):
    """Words, and what the decoder makes of them."""

    words: Array[u32] = array(WORDS)
    numbers: Array[u16] = array(WORDS)
    expanded: Array[u32] = array(1 << 16)


@native(name="test.find_all")
def find_all(batch: Batch) -> None:
    for n in span(u64(0), u64(WORDS)):
        batch.numbers[n] = u16(find(batch.words[n]))


@native(name="test.expand_all")
def expand_all(batch: Batch) -> None:
    for n in span(u64(0), u64(1 << 16)):
        batch.expanded[n] = expand_compressed(u32(n))


BY_OPCODE = [
    [
        (number, line.encoding.mask, line.encoding.match)
        for number, line in enumerate(TABLE)
        if opcode & line.encoding.mask & 127 == line.encoding.match & 127
    ]
    for opcode in range(128)
]


def plain_search(word: int) -> int:
    return next(n for n, mask, match in BY_OPCODE[word & 127] if word & mask == match)


@pytest.mark.parametrize("line", LINES, ids=lambda line: line.name)
def test_what_is_encoded_is_decoded(line: Instruction) -> None:
    source = random.Random(f"{SEED} {line.name}")
    for _ in range(50):
        word = line.encoding.encode(**operands(line, source))
        again = line.encoding.encode(**line.encoding.decode(word))
        assert again == word
        assert line.encoding.decode(again) == line.encoding.decode(word)
        found = TABLE[int(find(u32(word)))]
        assert found is line or found.encoding.mask & line.encoding.mask == line.encoding.mask


def test_an_overlap_is_a_special_case_that_comes_first() -> None:
    for place, one in enumerate(LINES):
        for other in LINES[place + 1 :]:
            both = one.encoding.mask & other.encoding.mask
            if (one.encoding.match ^ other.encoding.match) & both == 0:
                assert one.encoding.mask & other.encoding.mask == other.encoding.mask, (
                    f"{one.name} before {other.name}"
                )


def random_words() -> list[int]:
    """Half of them near an instruction, so that they are not all illegal."""
    source = random.Random(SEED)
    words = [source.getrandbits(32) | 3 for _ in range(WORDS // 2)]
    for _ in range(WORDS // 2):
        encoding = source.choice(LINES).encoding
        word = source.getrandbits(32) & ~encoding.mask | encoding.match
        words.append(word ^ (1 << source.randrange(2, 32) if source.random() < 0.5 else 0))
    return words


def test_a_million_words_are_found_as_by_plain_search() -> None:
    room = ctypes.create_string_buffer(Batch.size + 64)
    address = -(-ctypes.addressof(room) // 64) * 64
    batch = Batch.at(u64(address))
    words = random_words()
    ctypes.memmove(batch.words.address.value, struct.pack(f"<{WORDS}I", *words), 4 * WORDS)
    library = Library([find_all, expand_all])
    library.entry(find_all)(address)
    numbers = (ctypes.c_uint16 * WORDS).from_address(batch.numbers.address.value)[:]
    for word, number in zip(words, numbers, strict=True):
        assert number == plain_search(word), f"{word:#010x}"
    assert sum(number != len(TABLE) - 1 for number in numbers) > WORDS // 5
    library.entry(expand_all)(address)
    expanded = (ctypes.c_uint32 * (1 << 16)).from_address(batch.expanded.address.value)[:]
    check_short_words(expanded)


def check_short_words(expanded: list[int]) -> None:
    """Every 16-bit word is as in CPython, and stands for what its line says."""
    for half in range(1 << 16):
        lines = [e for e in EXPANSIONS if half & e.mask == e.match]
        if half & 3 == 3 or not lines:
            assert expanded[half] == 0
            continue
        chosen = lines[0]
        want = chosen.expand(*(extract(u32(half)) for extract in chosen.operands))
        assert expanded[half] == int(want), f"{half:#06x}"
        assert int(want) == 0 or TABLE[int(find(want))] is not ILLEGAL, f"{half:#06x}"
