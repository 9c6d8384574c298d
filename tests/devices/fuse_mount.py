"""Mount a stack with the host's own kernel and run a command in it (Linux, root, /dev/fuse).

    unshare --mount --propagation private python fuse_mount.py LAYER UPPER MOUNTPOINT COMMAND...

The mount is the namespace's and goes with it. UPPER is kept; "-" instead of LAYER is none.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

from maquina.devices.fuse import FuseServer
from maquina.devices.fuse_abi import IN_HEADER, Op
from maquina.machine.clock import HostClock
from maquina.storage.layers.layer import Layer
from maquina.storage.layers.stack import Stack
from maquina.storage.layers.upper import Upper

NAMES = {int(op): op.name for op in Op}
BUFFER = (1 << 20) + 4096


def mount(path: Path) -> int:
    """A new FUSE mount; returns what its requests are read from."""
    fd = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    options = f"fd={fd},rootmode=40755,user_id=0,group_id=0,default_permissions,allow_other"
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"maquina", os.fsencode(path), b"fuse", 0, options.encode()):
        raise OSError(ctypes.get_errno(), "mount")
    return fd


def serve(fd: int, server: FuseServer, counts: Counter[str]) -> None:
    """Answer requests until the file system is unmounted."""
    inward, outward = memoryview(bytearray(BUFFER)), memoryview(bytearray(BUFFER))
    while True:
        try:
            size = os.readv(fd, [inward])
        except OSError:
            return
        start = time.perf_counter()
        length = server.handle([inward[:size]], [outward])
        counts[NAMES.get(IN_HEADER.unpack_from(inward)[1], "unknown")] += 1
        counts["us"] += int((time.perf_counter() - start) * 1e6)
        if length:
            os.write(fd, outward[:length])


def main() -> int:
    layer, upper, place, *command = sys.argv[1:]
    layers = [] if layer == "-" else [Layer.open(layer)]
    with Stack(layers, Upper.open(upper)) as stack:
        counts: Counter[str] = Counter()
        fd = mount(Path(place))
        server = FuseServer(stack, HostClock())
        threading.Thread(target=serve, args=(fd, server, counts), daemon=True).start()
        status = subprocess.run(command, cwd=place, check=False).returncode
        ctypes.CDLL(None).umount2(os.fsencode(place), 2)
        time.sleep(0.1)
        if os.environ.get("COUNTS"):
            print(dict(counts), file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
