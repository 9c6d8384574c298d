"""RV64GC harts as a table of instructions.

Reading order: `table` (what an instruction is), `rv_i`, `rv_m`, ... (the instructions), `isa` (all
of them), `state` (a hart's state, records, code pages, views), `mmu`, `memory`, `views` (from a
virtual address to the host's), `code` (decoded instructions and how they stay true), `csr`,
`traps`, `floating`, `time` (the privileged architecture), `decoder`, `operands`, `dispatch`,
`handlers`, `border`, `interpreter` (from the table to a threaded interpreter), `entry_points` and
`hart` (the Python object), `saving` (its state as plain data), `disassembler` and `trace`
(instructions as text).

All of it but `hart` is native Python: `Hart(accel="reference")` runs the same code in CPython.
"""
