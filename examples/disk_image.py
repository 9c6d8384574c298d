"""A qcow2 disk and an overlay of it: what is written to the one leaves the other as it was."""

import tempfile
from pathlib import Path

from maquina.storage.formats import create_overlay, open_image
from maquina.storage.qcow2.check import check
from maquina.storage.qcow2.create import create

MIB = 1 << 20


def read(path: Path, length: int) -> bytes:
    image = open_image(path, read_only=True, allow_backing=[path.parent])
    buffer = bytearray(length)
    image.read_into(0, [memoryview(buffer)])
    image.close()
    return bytes(buffer)


def write(path: Path, data: bytes) -> None:
    image = open_image(path, allow_backing=[path.parent])
    image.write_from(0, [memoryview(data)])
    image.close()


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        base, overlay = Path(directory, "base.qcow2"), Path(directory, "mine.qcow2")
        create(base, 64 * MIB)
        write(base, b"from the base")
        create_overlay(base, overlay, base_format="qcow2")
        write(overlay, b"FROM MINE")
        print("base:   ", read(base, 13).decode())
        print("overlay:", read(overlay, 13).decode())
        print("errors: ", check(overlay).errors, "in", overlay.stat().st_size >> 10, "KiB")


if __name__ == "__main__":
    main()
