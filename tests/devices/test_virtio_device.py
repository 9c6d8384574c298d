from __future__ import annotations

import textwrap

from tests.devices.driver import Driver, Pci

from maquina.devices.virtio import device
from maquina.devices.virtio.buffers import gather, scatter
from maquina.devices.virtio.device import VirtioDevice


def test_the_example_in_the_documentation_is_a_device() -> None:
    assert device.__doc__
    start = device.__doc__.index("    class Reverser")
    source = textwrap.dedent(device.__doc__[start : device.__doc__.index("How it is called")])
    names: dict[str, object] = {
        "VirtioDevice": VirtioDevice,
        "gather": gather,
        "scatter": scatter,
        "MAX_REQUEST": 4096,
        "State": object,
    }
    exec(source, names)
    reverser = names["Reverser"]
    assert isinstance(reverser, type)
    pci = Pci(reverser())
    (ring,) = Driver(pci).start()
    assert ring.request(b"stressed", 8) == b"desserts"
    pci.close()
