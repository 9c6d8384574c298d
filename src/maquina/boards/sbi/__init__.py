"""The RISC-V Supervisor Binary Interface 2.0, answered by the board instead of a firmware.

A kernel started in S-mode asks for timers, interrupts to other harts and power-off by `ecall`:
the extension's number in a7, the function's in a6, arguments in a0 to a5; it gets an error in a0
and a value in a1 (chapter 3). Each extension is one file with a table of functions, each of which
takes a `Call` and answers an error and a value.

Reading order: `calls` (what a function is given and what it may ask of the board), any extension,
`dispatch`.
"""
