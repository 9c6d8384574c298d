"""Concrete machines: address map, devices, device tree, what is loaded where, harts on threads.

Reading order: `addresses` (the map of the one board, `virt`, which is QEMU's), `devicetree` (the
format) and `virt_tree` (what ours says), `loading` (kinds of kernel and firmware files) and
`placement` (where they go in memory), `sbi` (what the board answers in place of a firmware),
`processors` (threads that run harts), `harts` and `tracing` (our processor, made ready), `timers`,
`configuration` (what a machine is made of), `virt` (the board: one power cycle), `ending`,
`machine` (a computer as a Python object).
"""
