"""Numbers of the privileged architecture: privilege levels, causes, interrupts, status bits."""

from __future__ import annotations

from maquina.jit import u64

USER, SUPERVISOR, MACHINE = 0, 1, 3

# Exceptions (privileged manual, table "Machine cause register values after trap").
INSTRUCTION_MISALIGNED = u64(0)
INSTRUCTION_ACCESS_FAULT = u64(1)
ILLEGAL_INSTRUCTION = u64(2)
BREAKPOINT = u64(3)
LOAD_MISALIGNED = u64(4)
LOAD_ACCESS_FAULT = u64(5)
STORE_MISALIGNED = u64(6)
STORE_ACCESS_FAULT = u64(7)
ECALL_FROM_U = u64(8)
INSTRUCTION_PAGE_FAULT = u64(12)
LOAD_PAGE_FAULT = u64(13)
STORE_PAGE_FAULT = u64(15)
INTERRUPT = 1 << 63

# Interrupts, as bit numbers of mip and mie.
SSI, MSI, STI, MTI, SEI, MEI = 1, 3, 5, 7, 9, 11
BY_PRIORITY = (MEI, MSI, MTI, SEI, SSI, STI)
SUPERVISOR_INTERRUPTS = 1 << SSI | 1 << STI | 1 << SEI
MACHINE_INTERRUPTS = 1 << MSI | 1 << MTI | 1 << MEI

# mstatus (privileged manual, section 3.1.6).
STATUS_SIE, STATUS_MIE, STATUS_SPIE, STATUS_MPIE, STATUS_SPP = (
    1 << 1, 1 << 3, 1 << 5, 1 << 7, 1 << 8,
)  # fmt: skip
MPP_SHIFT, FS_SHIFT = 11, 13
MPP, FS = 3 << MPP_SHIFT, 3 << FS_SHIFT
MPRV, SUM, MXR, TVM, TW, TSR = (1 << n for n in range(17, 23))
UXL, SXL = 2 << 32, 2 << 34
SD = 1 << 63

# menvcfg and senvcfg (privileged manual, section 3.1.18).
FIOM, CBIE, CBCFE, CBZE = 1, 3 << 4, 1 << 6, 1 << 7
ADUE, STCE = 1 << 61, 1 << 63

# Why native code is left.
EXIT_NONE, EXIT_SLICE, EXIT_LIMIT, EXIT_IDLE, EXIT_CALL, EXIT_STOP = (u64(n) for n in range(6))
