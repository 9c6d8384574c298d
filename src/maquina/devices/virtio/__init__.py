"""Virtio devices (Virtual I/O Device Version 1.3, OASIS), for whichever guest has the drivers.

Reading order: `device`, what a virtio device is; `rng`, the smallest; `queue` and `buffers`, how
requests travel; `status` and `common_config`, how driver and device agree; `transport_pci` and
`transport_mmio`, how they reach each other. Then the devices: `block`; `net` and its `checksums`;
`console` and `console_port`; `fs`, which speaks FUSE.
"""
