"""F: single-precision floating point (unprivileged manual, chapter 21).

Loads and stores are in `rv_fd_memory`. An operand typed u64 is a register's bits as they are; the
lower half of a register that holds no boxed single counts as the canonical NaN.
"""

from __future__ import annotations

from maquina.cpu.riscv.float_bits import SINGLE as BITS
from maquina.cpu.riscv.rounding import FROM_SINGLE as TO
from maquina.cpu.riscv.rounding import RMM_SINGLE as RMM
from maquina.cpu.riscv.table import Extension
from maquina.jit import f32, s32, s64, u32, u64
from maquina.jit.floats import (
    add,
    convert,
    divide,
    equal,
    fused,
    less,
    less_equal,
    multiply,
    negate,
    square_root,
    subtract,
)

rv_f = Extension("f")


@rv_f.instruction("frs3 00 frs2 frs1 rm frd 1000011", rounding=RMM.fmadd)
def fmadd_s(frs1: f32, frs2: f32, frs3: f32) -> f32:
    return fused(frs1, frs2, frs3)


@rv_f.instruction("frs3 00 frs2 frs1 rm frd 1000111", rounding=RMM.fmsub)
def fmsub_s(frs1: f32, frs2: f32, frs3: f32) -> f32:
    return fused(frs1, frs2, negate(frs3))


@rv_f.instruction("frs3 00 frs2 frs1 rm frd 1001011", rounding=RMM.fnmsub)
def fnmsub_s(frs1: f32, frs2: f32, frs3: f32) -> f32:
    return fused(negate(frs1), frs2, frs3)


@rv_f.instruction("frs3 00 frs2 frs1 rm frd 1001111", rounding=RMM.fnmadd)
def fnmadd_s(frs1: f32, frs2: f32, frs3: f32) -> f32:
    return fused(negate(frs1), frs2, negate(frs3))


@rv_f.instruction("0000000 frs2 frs1 rm frd 1010011", rounding=RMM.add)
def fadd_s(frs1: f32, frs2: f32) -> f32:
    return add(frs1, frs2)


@rv_f.instruction("0000100 frs2 frs1 rm frd 1010011", rounding=RMM.subtract)
def fsub_s(frs1: f32, frs2: f32) -> f32:
    return subtract(frs1, frs2)


@rv_f.instruction("0001000 frs2 frs1 rm frd 1010011", rounding=RMM.multiply)
def fmul_s(frs1: f32, frs2: f32) -> f32:
    return multiply(frs1, frs2)


@rv_f.instruction("0001100 frs2 frs1 rm frd 1010011", rounding=RMM.divide)
def fdiv_s(frs1: f32, frs2: f32) -> f32:
    return divide(frs1, frs2)


@rv_f.instruction("0101100 00000 frs1 rm frd 1010011", rounding=RMM.square_root)
def fsqrt_s(frs1: f32) -> f32:
    return square_root(frs1)


@rv_f.instruction("0010000 frs2 frs1 000 frd 1010011")
def fsgnj_s(frs1: f32, frs2: f32) -> f32:
    return BITS.with_sign(frs1, frs2)


@rv_f.instruction("0010000 frs2 frs1 001 frd 1010011")
def fsgnjn_s(frs1: f32, frs2: f32) -> f32:
    return BITS.with_other_sign(frs1, frs2)


@rv_f.instruction("0010000 frs2 frs1 010 frd 1010011")
def fsgnjx_s(frs1: f32, frs2: f32) -> f32:
    return BITS.with_signs_multiplied(frs1, frs2)


@rv_f.instruction("0010100 frs2 frs1 000 frd 1010011")
def fmin_s(frs1: f32, frs2: f32) -> f32:
    return BITS.smaller(frs1, frs2)


@rv_f.instruction("0010100 frs2 frs1 001 frd 1010011")
def fmax_s(frs1: f32, frs2: f32) -> f32:
    return BITS.larger(frs1, frs2)


@rv_f.instruction("1010000 frs2 frs1 000 rd 1010011")
def fle_s(frs1: f32, frs2: f32) -> bool:
    return less_equal(frs1, frs2)


@rv_f.instruction("1010000 frs2 frs1 001 rd 1010011")
def flt_s(frs1: f32, frs2: f32) -> bool:
    return less(frs1, frs2)


@rv_f.instruction("1010000 frs2 frs1 010 rd 1010011")
def feq_s(frs1: f32, frs2: f32) -> bool:
    return equal(frs1, frs2)


@rv_f.instruction("1110000 00000 frs1 001 rd 1010011")
def fclass_s(frs1: f32) -> u64:
    return BITS.classify(frs1)


@rv_f.instruction("1100000 00000 frs1 rm rd 1010011")
def fcvt_w_s(frs1: f32, rm: u32) -> s32:
    return TO.word(frs1, rm)


@rv_f.instruction("1100000 00001 frs1 rm rd 1010011")
def fcvt_wu_s(frs1: f32, rm: u32) -> s32:
    return s32(TO.unsigned_word(frs1, rm))


@rv_f.instruction("1100000 00010 frs1 rm rd 1010011")
def fcvt_l_s(frs1: f32, rm: u32) -> s64:
    return TO.long(frs1, rm)


@rv_f.instruction("1100000 00011 frs1 rm rd 1010011")
def fcvt_lu_s(frs1: f32, rm: u32) -> u64:
    return TO.unsigned_long(frs1, rm)


@rv_f.instruction("1101000 00000 rs1 rm frd 1010011", rounding=RMM.from_s32)
def fcvt_s_w(rs1: s32) -> f32:
    return convert(f32, rs1)


@rv_f.instruction("1101000 00001 rs1 rm frd 1010011", rounding=RMM.from_u32)
def fcvt_s_wu(rs1: u32) -> f32:
    return convert(f32, rs1)


@rv_f.instruction("1101000 00010 rs1 rm frd 1010011", rounding=RMM.from_s64)
def fcvt_s_l(rs1: s64) -> f32:
    return convert(f32, rs1)


@rv_f.instruction("1101000 00011 rs1 rm frd 1010011", rounding=RMM.from_u64)
def fcvt_s_lu(rs1: u64) -> f32:
    return convert(f32, rs1)


@rv_f.instruction("1110000 00000 frs1 000 rd 1010011")
def fmv_x_w(frs1: u64) -> s32:
    return s32(frs1)


@rv_f.instruction("1111000 00000 rs1 000 frd 1010011")
def fmv_w_x(rs1: u32) -> f32:
    return f32(rs1)
