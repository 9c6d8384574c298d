"""D: double-precision floating point (unprivileged manual, chapter 22).

Loads and stores are in `rv_fd_memory`. An operand typed u64 is a register's bits as they are; the
lower half of a register that holds no boxed single counts as the canonical NaN.
"""

from __future__ import annotations

from maquina.cpu.riscv.float_bits import DOUBLE as BITS
from maquina.cpu.riscv.rounding import FROM_DOUBLE as TO
from maquina.cpu.riscv.rounding import RMM_DOUBLE as RMM
from maquina.cpu.riscv.rounding import RMM_SINGLE
from maquina.cpu.riscv.table import Extension
from maquina.jit import f32, f64, s32, s64, u32, u64
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

rv_d = Extension("d")


@rv_d.instruction("frs3 01 frs2 frs1 rm frd 1000011", rounding=RMM.fmadd)
def fmadd_d(frs1: f64, frs2: f64, frs3: f64) -> f64:
    return fused(frs1, frs2, frs3)


@rv_d.instruction("frs3 01 frs2 frs1 rm frd 1000111", rounding=RMM.fmsub)
def fmsub_d(frs1: f64, frs2: f64, frs3: f64) -> f64:
    return fused(frs1, frs2, negate(frs3))


@rv_d.instruction("frs3 01 frs2 frs1 rm frd 1001011", rounding=RMM.fnmsub)
def fnmsub_d(frs1: f64, frs2: f64, frs3: f64) -> f64:
    return fused(negate(frs1), frs2, frs3)


@rv_d.instruction("frs3 01 frs2 frs1 rm frd 1001111", rounding=RMM.fnmadd)
def fnmadd_d(frs1: f64, frs2: f64, frs3: f64) -> f64:
    return fused(negate(frs1), frs2, negate(frs3))


@rv_d.instruction("0000001 frs2 frs1 rm frd 1010011", rounding=RMM.add)
def fadd_d(frs1: f64, frs2: f64) -> f64:
    return add(frs1, frs2)


@rv_d.instruction("0000101 frs2 frs1 rm frd 1010011", rounding=RMM.subtract)
def fsub_d(frs1: f64, frs2: f64) -> f64:
    return subtract(frs1, frs2)


@rv_d.instruction("0001001 frs2 frs1 rm frd 1010011", rounding=RMM.multiply)
def fmul_d(frs1: f64, frs2: f64) -> f64:
    return multiply(frs1, frs2)


@rv_d.instruction("0001101 frs2 frs1 rm frd 1010011", rounding=RMM.divide)
def fdiv_d(frs1: f64, frs2: f64) -> f64:
    return divide(frs1, frs2)


@rv_d.instruction("0101101 00000 frs1 rm frd 1010011", rounding=RMM.square_root)
def fsqrt_d(frs1: f64) -> f64:
    return square_root(frs1)


@rv_d.instruction("0010001 frs2 frs1 000 frd 1010011")
def fsgnj_d(frs1: f64, frs2: f64) -> f64:
    return BITS.with_sign(frs1, frs2)


@rv_d.instruction("0010001 frs2 frs1 001 frd 1010011")
def fsgnjn_d(frs1: f64, frs2: f64) -> f64:
    return BITS.with_other_sign(frs1, frs2)


@rv_d.instruction("0010001 frs2 frs1 010 frd 1010011")
def fsgnjx_d(frs1: f64, frs2: f64) -> f64:
    return BITS.with_signs_multiplied(frs1, frs2)


@rv_d.instruction("0010101 frs2 frs1 000 frd 1010011")
def fmin_d(frs1: f64, frs2: f64) -> f64:
    return BITS.smaller(frs1, frs2)


@rv_d.instruction("0010101 frs2 frs1 001 frd 1010011")
def fmax_d(frs1: f64, frs2: f64) -> f64:
    return BITS.larger(frs1, frs2)


@rv_d.instruction("1010001 frs2 frs1 000 rd 1010011")
def fle_d(frs1: f64, frs2: f64) -> bool:
    return less_equal(frs1, frs2)


@rv_d.instruction("1010001 frs2 frs1 001 rd 1010011")
def flt_d(frs1: f64, frs2: f64) -> bool:
    return less(frs1, frs2)


@rv_d.instruction("1010001 frs2 frs1 010 rd 1010011")
def feq_d(frs1: f64, frs2: f64) -> bool:
    return equal(frs1, frs2)


@rv_d.instruction("1110001 00000 frs1 001 rd 1010011")
def fclass_d(frs1: f64) -> u64:
    return BITS.classify(frs1)


@rv_d.instruction("1100001 00000 frs1 rm rd 1010011")
def fcvt_w_d(frs1: f64, rm: u32) -> s32:
    return TO.word(frs1, rm)


@rv_d.instruction("1100001 00001 frs1 rm rd 1010011")
def fcvt_wu_d(frs1: f64, rm: u32) -> s32:
    return s32(TO.unsigned_word(frs1, rm))


@rv_d.instruction("1100001 00010 frs1 rm rd 1010011")
def fcvt_l_d(frs1: f64, rm: u32) -> s64:
    return TO.long(frs1, rm)


@rv_d.instruction("1100001 00011 frs1 rm rd 1010011")
def fcvt_lu_d(frs1: f64, rm: u32) -> u64:
    return TO.unsigned_long(frs1, rm)


@rv_d.instruction("1101001 00000 rs1 rm frd 1010011", rounding=RMM.from_s32)
def fcvt_d_w(rs1: s32) -> f64:
    return convert(f64, rs1)


@rv_d.instruction("1101001 00001 rs1 rm frd 1010011", rounding=RMM.from_u32)
def fcvt_d_wu(rs1: u32) -> f64:
    return convert(f64, rs1)


@rv_d.instruction("1101001 00010 rs1 rm frd 1010011", rounding=RMM.from_s64)
def fcvt_d_l(rs1: s64) -> f64:
    return convert(f64, rs1)


@rv_d.instruction("1101001 00011 rs1 rm frd 1010011", rounding=RMM.from_u64)
def fcvt_d_lu(rs1: u64) -> f64:
    return convert(f64, rs1)


@rv_d.instruction("0100000 00001 frs1 rm frd 1010011", rounding=RMM_SINGLE.from_f64)
def fcvt_s_d(frs1: f64) -> f32:
    return convert(f32, frs1)


@rv_d.instruction("0100001 00000 frs1 rm frd 1010011", rounding=RMM.from_f32)
def fcvt_d_s(frs1: f32) -> f64:
    return convert(f64, frs1)


@rv_d.instruction("1110001 00000 frs1 000 rd 1010011")
def fmv_x_d(frs1: u64) -> u64:
    return frs1


@rv_d.instruction("1111001 00000 rs1 000 frd 1010011")
def fmv_d_x(rs1: u64) -> u64:
    return rs1
