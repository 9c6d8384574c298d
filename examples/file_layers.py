"""Copy-on-write file trees: a read-only layer, a writable one on top, nothing owned by root."""

import tempfile
from pathlib import Path
from stat import S_IFREG

from maquina.storage.layers.layer import Layer
from maquina.storage.layers.stack import Stack
from maquina.storage.layers.upper import Upper
from maquina.storage.layers.writer import LayerWriter


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        with LayerWriter(Path(directory, "base")) as writer:
            writer.directory("etc", 0o755)
            writer.file("etc/hostname", b"box\n", 0o644, 0, 0, 0)
            writer.finish()
        layer = Layer.open(Path(directory, "base"))
        upper = Upper.temporary(Path(directory, "scratch"))
        with Stack([layer], upper) as stack:
            etc = stack.find("etc").ino
            hosts = stack.create(etc, b"hosts", S_IFREG | 0o644, owner=(0, 0))
            stack.write_from(hosts.ino, 0, [memoryview(b"127.0.0.1 localhost\n")])
            names = sorted(name.decode() for _, name, _, _ in stack.list(etc, 0))
            print("etc:", *names)
        layer.close()


if __name__ == "__main__":
    main()
