"""One computer's parts, whatever its CPU: memory, address space, interrupt lines, clock, state.

Reading order: `memory` (guest RAM), `bus` (who answers at which address), `interrupts` (wires),
`device` and `vcpu` (the protocols that devices and processors satisfy), `backends` (how a device
reaches the host: block, network, characters) and `files` (a tree of them), `state` (saving and
restoring as plain data), `clock`. Nothing here knows a particular device or CPU.
"""
