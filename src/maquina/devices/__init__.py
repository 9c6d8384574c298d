"""Guest-visible hardware, one file per device, after the manuals that the guests' drivers follow.

A device sees offsets, never addresses, and is given what it needs: interrupt lines, backends, a
clock, memory. Every access to it holds `AddressSpace.lock`; what enters from the host (a frame, a
key press) enters through methods that whoever attaches the backend calls with that lock held.
Whatever a guest does to it, a device answers as hardware would and never raises. Devices with a
state have `save` and `restore`; restoring touches no backend. When all of a machine has
been restored, `PciHost.resume`, `VirtioMmio.resume` and the serial port's backend's `ready` set
things going.

Reading order: `test_finisher`, the smallest; `plic` and `aclint`, the interrupts and the clock of
RISC-V; `uart16550`, `rtc_goldfish`; `pci_function` and `pci`, the bus; then the package `virtio`.
Sharing files, whoever carries the requests: `fuse_abi`, the protocol's layouts; `fuse_session`,
`fuse_operations`, `fuse`, the server.
"""
