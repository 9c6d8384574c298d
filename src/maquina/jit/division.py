"""Division that hosts have no instruction for.

Where LLVM meets a division of 128 bits, or narrows a wider one to that, it calls functions of
the compiler's run-time library. No library of a Python process is sure to have them, so a module
that divides words wider than 64 bits gets these.
"""

from __future__ import annotations

from maquina.jit.integers import divide_wide, leading_zeros
from maquina.jit.native import native
from maquina.jit.words import s128, u64, u128

LOW_HALF = (1 << 32) - 1


@native
def divide_wide_by_halves(high: u64, low: u64, divisor: u64) -> tuple[u64, u64]:
    """`divide_wide` by 64-bit divisions: Knuth's algorithm D with two digits of 32 bits.

    The Art of Computer Programming, volume 2, section 4.3.1.
    """
    zeros = leading_zeros(divisor)
    scaled = divisor << zeros
    top = scaled >> 32
    rest = high << zeros
    if zeros != 0:
        rest |= low >> 64 - zeros
    digits = low << zeros
    first = _digit(rest, scaled, top, digits >> 32)
    rest = (rest << 32 | digits >> 32) - first * scaled
    second = _digit(rest, scaled, top, digits & LOW_HALF)
    rest = (rest << 32 | digits & LOW_HALF) - second * scaled
    return first << 32 | second, rest >> zeros


@native(inline=True)
def _digit(rest: u64, divisor: u64, top: u64, following: u64) -> u64:
    """rest:following / divisor, one digit of 32 bits; the divisor's highest bit is set."""
    guess = rest // top
    over = rest % top
    while guess > LOW_HALF or guess * (divisor & LOW_HALF) > (over << 32 | following):
        guess -= 1
        over += top
        if over > LOW_HALF:
            break
    return guess


@native(inline=True)
def divide_128(a: u128, b: u128) -> tuple[u128, u128]:
    """Quotient and remainder of 128-bit words, b != 0."""
    high = u64(a >> 64)
    if b >> 64 == 0:
        divisor = u64(b)
        low, rest = divide_wide(high % divisor, u64(a), divisor)
        return u128(high // divisor) << 64 | u128(low), u128(rest)
    zeros = leading_zeros(u64(b >> 64))
    top = u64(b << zeros >> 64)
    guess, _ = divide_wide(high >> 1, u64(a >> 1), top)
    guess = guess >> 63 - zeros  # exact, or 1 too large
    if guess != 0:
        guess -= 1
    left = a - u128(guess) * b
    if left >= b:
        return u128(guess) + 1, left - b
    return u128(guess), left


@native(name="__udivti3")
def unsigned_quotient(a: u128, b: u128) -> u128:
    quotient, _ = divide_128(a, b)
    return quotient


@native(name="__umodti3")
def unsigned_remainder(a: u128, b: u128) -> u128:
    _, rest = divide_128(a, b)
    return rest


@native(name="__divti3")
def signed_quotient(a: s128, b: s128) -> s128:
    quotient, _ = divide_128(u128(-a if a < 0 else a), u128(-b if b < 0 else b))
    return -s128(quotient) if (a < 0) != (b < 0) else s128(quotient)


@native(name="__modti3")
def signed_remainder(a: s128, b: s128) -> s128:
    _, rest = divide_128(u128(-a if a < 0 else a), u128(-b if b < 0 else b))
    return -s128(rest) if a < 0 else s128(rest)


RUN_TIME = (unsigned_quotient, unsigned_remainder, signed_quotient, signed_remainder)
