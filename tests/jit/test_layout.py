"""Structs, pointers and arrays: the same bytes in both modes, where C would put them."""

import ctypes
import random
from typing import Any

import pytest

from maquina.jit import (
    Array,
    Library,
    Ptr,
    Struct,
    array,
    f32,
    f64,
    field,
    local_array,
    native,
    pointer,
    s8,
    s32,
    s64,
    size_of,
    span,
    u8,
    u16,
    u32,
    u64,
    u128,
    u256,
)


class Entry(Struct):
    tag: u64
    kind: u16


class Everything(Struct):
    a: u8
    b: u32
    c: s8
    d: f64
    e: f32
    f: Array[u16] = array(3)
    g: Array[Entry] = array(2)
    h: Entry
    i: Ptr[u32]
    j: u256
    k: u8 = field(at=200)
    m: Array[s32] = array(2, at=208)


class CEntry(ctypes.Structure):
    _fields_ = [("tag", ctypes.c_uint64), ("kind", ctypes.c_uint16)]


class CEverything(ctypes.Structure):
    _fields_ = [
        ("a", ctypes.c_uint8),
        ("b", ctypes.c_uint32),
        ("c", ctypes.c_int8),
        ("d", ctypes.c_double),
        ("e", ctypes.c_float),
        ("f", ctypes.c_uint16 * 3),
        ("g", CEntry * 2),
        ("h", CEntry),
        ("i", ctypes.c_void_p),
        ("j", ctypes.c_uint64 * 4),
    ]


def test_fields_lie_where_c_puts_them() -> None:
    for name, *_ in CEverything._fields_:
        assert Everything.fields[name].offset == getattr(CEverything, name).offset, name
    assert (Entry.size, Entry.alignment) == (16, 8)
    assert Everything.fields["k"].offset == 200
    assert Everything.size == 216
    assert size_of(u128) == 16
    assert size_of(Ptr[Entry]) == 8


@native
def fill(it: Everything, seed: u64, target: Ptr[u32]) -> u64:
    """Write and read every field in every way."""
    it.a = u8(seed)
    it.b = u32(seed >> 3)
    it.c = s8(seed)
    it.d = f64(seed)
    it.e = f32(u32(seed))
    for n in span(u64(3)):
        it.f[n] = u16(seed >> n)
    it.g[1].tag = seed ^ 5
    it.g[seed & 1].kind = u16(seed >> 7)
    it.h.tag += seed
    it.h.kind -= 1
    it.i = target + (seed & 3)
    it.i[1] = u32(seed >> 9)
    it.j = u256(seed) * u256(seed) * u256(seed)
    it.k |= u8(seed >> 1)
    it.m[0] = s32(seed)
    last = it.m + 1
    last[0] -= s32(seed)
    other = Entry.at(it.g.address).shifted(1)
    other.tag += Ptr[Entry](it.g.address)[0].tag
    pointer(u8, it.address)[3] = u8(7)
    return other.tag + u64(it.c) + it.d.pattern + it.i.address - target.address


def test_both_modes_write_the_same_bytes() -> None:
    compiled = Library([fill])(fill)
    chance = random.Random(3)
    for _ in range(200):
        start, seed = chance.randbytes(Everything.size), chance.getrandbits(64)
        outcomes = []
        for run in (fill, compiled):
            store = ctypes.create_string_buffer(start, Everything.size)
            far = (ctypes.c_uint32 * 8)()
            it = Everything.at(u64(ctypes.addressof(store)))
            target = Ptr[u32](u64(ctypes.addressof(far)))
            result = run(it, u64(seed), target)
            it.i = Ptr[u32](u64(0))  # the one thing that rightly differs
            outcomes.append((result, store.raw, bytes(far)))
        assert outcomes[0] == outcomes[1], seed


@native
def summed(count: u64) -> u64:
    cells = local_array(u64, 8)
    entries = local_array(Entry, 4)
    for i in span(count):
        cells[i & 7] += i * i
        entries[i & 3].tag += cells[(i + 1) & 7]
    total = cells[0] + cells[7]
    for i in span(u64(4)):
        total = total * 3 + entries[i].tag
    return total


def test_local_arrays_are_zeroed_and_agree() -> None:
    compiled = Library([summed])(summed)
    for count in (0, 1, 7, 100):
        assert compiled(u64(count)) == summed(u64(count))


def test_unaligned_elements() -> None:
    store = ctypes.create_string_buffer(16)
    place = Ptr[u64](u64(ctypes.addressof(store) + 3))
    place[0] = u64(0x1122334455667788)
    assert store.raw[3:11] == bytes.fromhex("8877665544332211")
    assert (place + 1).address == place.address + 8


def test_what_structs_refuse() -> None:
    with pytest.raises(TypeError, match=r"Wrong.address: every Struct uses this name"):

        class Wrong(Struct):
            address: u64

    with pytest.raises(TypeError, match="no word, float, Ptr or Struct"):

        class Untyped(Struct):
            x: int

    with pytest.raises(TypeError, match=r"write `name: Array\[T\] = array\(count\)`"):

        class Uncounted(Struct):
            x: Array[u64]

    store = ctypes.create_string_buffer(Everything.size)
    it: Any = Everything.at(u64(ctypes.addressof(store)))
    with pytest.raises(AttributeError, match="no field mode"):
        it.mode = u64(1)
    with pytest.raises(TypeError, match="convert"):
        it.a = u64(1)
    with pytest.raises(TypeError, match="in place"):
        it.f = it.f
    with pytest.raises(TypeError, match="an address is a u64"):
        Everything.at(5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="an address is a u64"):
        Ptr[u8](s64(1))  # type: ignore[arg-type]
