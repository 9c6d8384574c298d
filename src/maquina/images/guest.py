"""What comes out of here: a guest system, ready to be put into a machine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from maquina.errors import FormatError


@dataclass(frozen=True)
class Kernel:
    """A kernel to boot.

    `image` is the flat file that firmware jumps into. `tuned` are words for the command line that
    make it boot several times faster than it does by default, at the cost of self-tests and
    checks named in `images.kernels`; `stock` are those of an ordinary boot. The console and the
    root are the board's to add.
    """

    image: Path
    version: str
    tuned: str
    stock: str = "quiet"


@dataclass(frozen=True)
class Guest:
    """A system's files, its kernel, and what an init needs to start it.

    `layers` are directories for `storage.layers`, the lowest first. `modules` are kernel modules
    on the host in the order to load them for a network card, `disk_modules` those for a disk with
    ext4. The last layer has the same files below MODULES, with the orders in files `order` and
    `order.disk`. `busybox` is a static
    program for the guest's processor, on the host.
    """

    name: str
    architecture: str
    layers: tuple[Path, ...]
    kernel: Kernel
    modules: tuple[Path, ...]
    disk_modules: tuple[Path, ...]
    busybox: Path

    def paths(self) -> tuple[Path, ...]:
        """Everything on the host that this guest consists of."""
        return (
            *self.layers,
            self.kernel.image,
            *self.modules,
            *self.disk_modules,
            self.busybox,
        )

    def with_layer(self, path: Path) -> Guest:
        """The same with one more layer on top of the system, below the modules."""
        return replace(self, layers=(*self.layers[:-1], path, self.layers[-1]))

    def dump(self, base: Path) -> str:
        """As JSON, with paths relative to `base`."""

        def relative(path: Path) -> str:
            return str(path.relative_to(base))

        return json.dumps(
            {
                "name": self.name,
                "architecture": self.architecture,
                "layers": [relative(path) for path in self.layers],
                "kernel": {
                    "image": relative(self.kernel.image),
                    "version": self.kernel.version,
                    "tuned": self.kernel.tuned,
                    "stock": self.kernel.stock,
                },
                "modules": [relative(path) for path in self.modules],
                "disk_modules": [relative(path) for path in self.disk_modules],
                "busybox": relative(self.busybox),
            },
            indent=1,
        )

    @classmethod
    def load(cls, text: str, base: Path) -> Guest:
        """The inverse of `dump`. FormatError if it is anything else."""
        try:
            fields: dict[str, Any] = json.loads(text)
            kernel = fields["kernel"]
            return cls(
                name=str(fields["name"]),
                architecture=str(fields["architecture"]),
                layers=tuple(base / path for path in fields["layers"]),
                kernel=Kernel(
                    base / kernel["image"],
                    str(kernel["version"]),
                    str(kernel["tuned"]),
                    str(kernel["stock"]),
                ),
                modules=tuple(base / path for path in fields["modules"]),
                disk_modules=tuple(base / path for path in fields["disk_modules"]),
                busybox=base / fields["busybox"],
            )
        except (ValueError, KeyError, TypeError) as error:
            raise FormatError(f"not the description of a guest ({error})") from error


MODULES = "usr/lib/maquina/modules"
"""Where the modules are inside a guest."""


@contextmanager
def in_use(guest: Guest) -> Iterator[None]:
    """Keep `Cache.prune` away from a guest's files while a machine runs on them."""
    from maquina.images.cache import Cache

    with Cache.of_user().using(guest.paths()):
        yield
