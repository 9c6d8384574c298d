"""Doing once what every machine made from a guest would do again: in a machine of its own.

Packages added to a guest are unpacked, but their scripts have not run; Python's library is not
compiled, for no other Python can make its byte code, and a machine forgets what it compiled. So
before the first machine that is wanted another one does both, and what it has written becomes one
more layer of the guest, in the cache, found by the identity of the layers below.

A guest that could not be prepared works, only slower: nothing here stops a run.
"""

from __future__ import annotations

import hashlib
import os
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from maquina.errors import ImageError, MaquinaError
from maquina.images.cache import Cache
from maquina.images.progress import SILENT, Progress

if TYPE_CHECKING:
    from maquina.hypervisor.session import Session
    from maquina.images import Guest
    from maquina.storage.layers.stack import Stack

RECIPE = 1  # counts the changes to what is done: layers of another recipe are not used
TIME_LIMIT_S = 300.0  # for the whole of it; a guest that hangs must not hold up a run for ever
MEMORY_BYTES = 1 << 30
MAX_HARTS = 2
SAID_BYTES = 4096  # of what dpkg said at last: enough for the names of what it failed at

LOG = "var/log/prepare"
STATUS = "var/lib/dpkg/status"
UNCONFIGURED = b" unpacked\n"  # the end of a line in dpkg's status(5) file
FAILED = b"Errors were encountered while processing:\n"  # dpkg(1): followed by a name per line

# No script may start a service: /usr/sbin/policy-rc.d, Debian Policy 9.3.3.1.
CONFIGURE = f"""
printf '#!/bin/sh\\nexit 101\\n' >/usr/sbin/policy-rc.d
chmod +x /usr/sbin/policy-rc.d
export DEBIAN_FRONTEND=noninteractive
dpkg --force-confdef --force-confold --configure -a </dev/null >/{LOG} 2>&1
"""
# Python's own tests are run by nobody; everything else is what `py3compile` would do. A process
# for each processor: compileall's own workers (-j) would begin with compiling what they import.
COMPILE = r"""
jobs=$(nproc)
for library in /usr/lib/python3.[0-9]*; do
    python=/usr/bin/${library##*/}
    [ -x "$python" ] || continue
    find "$library" /usr/lib/python3/dist-packages -name '*.py' |
        grep -Ev '/(tests?|idle_test)/' >/tmp/sources
    for job in $(seq "$jobs"); do
        sed -n "$job~${jobs}p" /tmp/sources | "$python" -m compileall -q -i - &
    done
    wait
done
exit 0 # a file that is no Python of this version is not an error
"""


class Step(NamedTuple):
    """A script, and what it does in words."""

    what: str
    script: str


CONFIGURING = Step("configuring the added packages", CONFIGURE)
COMPILING = Step("compiling Python's library", COMPILE)


def prepare(guest: Guest, progress: Progress = SILENT, *, again: bool = False) -> Guest:
    """The guest with a prepared layer; without, if it could not be made, and a note says why.

    It is made if the cache does not have it: half a minute, several for many packages. What failed
    before is tried only if it is to be `again`. HostError if the cache cannot be written.
    """
    cache, name = Cache.of_user(), _name(guest)
    path, failure = cache.path("layers", name), cache.path("unprepared", name)
    if not path.exists() and (again or not failure.exists()):
        try:
            _make(guest, cache, name, progress)
            failure.unlink(missing_ok=True)
        except MaquinaError as error:
            progress.note(
                f"{guest.name} could not be prepared and is used as it is: {error.message}; "
                "maquina pull tries again"
            )
    if not path.exists():
        return guest
    cache.touch("layers", name)
    return guest.with_layer(path)


def _name(guest: Guest) -> str:
    """Names the layer by all that it is made from. The topmost layer, of modules, is not used."""
    from maquina.storage.layers.layer import Layer

    digest = hashlib.sha256(f"{RECIPE}".encode())
    below = guest.layers[:-1]
    for path in below:
        with Layer.open(path) as layer:
            digest.update(layer.identity)
    return f"{below[0].name}-prepared-{digest.hexdigest()[:8]}"


def _make(guest: Guest, cache: Cache, name: str, progress: Progress) -> None:
    """Have the layer in the cache. MaquinaError if it cannot be made, now or when last tried."""
    begun = time.time()
    failure = cache.path("unprepared", name)
    with cache.making("layers", name, progress) as draft:
        if draft is None:
            return
        with suppress(OSError):
            if failure.stat().st_mtime > begun:  # by the run that this one waited for
                raise ImageError(failure.read_text())
        try:
            _write_layer(guest, draft, progress)
        except MaquinaError as error:
            with suppress(OSError):
                failure.parent.mkdir(exist_ok=True)
                failure.write_text(error.message)
            raise


def _write_layer(guest: Guest, path: Path, progress: Progress) -> None:
    from maquina.hypervisor.personal import Personal
    from maquina.hypervisor.recipes import Wanted
    from maquina.hypervisor.session import Session
    from maquina.storage.layers.difference import write_difference
    from maquina.storage.layers.layer import Layer
    from maquina.storage.layers.writer import LayerWriter

    harts = min(MAX_HARTS, len(os.sched_getaffinity(0)))
    wanted = Wanted(guest=guest, memory_bytes=MEMORY_BYTES, harts=harts, has_network=False)
    with ExitStack() as stack:
        null = stack.enter_context(Path(os.devnull).open("wb"))
        session = stack.enter_context(Session(wanted))
        root = session.root
        assert root is not None, "a guest has one"
        _work(session, root, null.fileno(), progress)
        layers = [stack.enter_context(Layer.open(each)) for each in guest.layers]
        writer = stack.enter_context(LayerWriter(path))
        personal = Personal(root)
        write_difference(root, layers, writer, personal.is_for_all)
        writer.finish().close()
    if personal.secrets:
        progress.note(f"left to each machine to make: {', '.join(sorted(personal.secrets))}")


def _work(session: Session, root: Stack, null: int, progress: Progress) -> None:
    """Do the steps; nobody reads what they say. Then the machine is off, and all is written."""
    deadline = time.monotonic() + TIME_LIMIT_S
    has_failed = False
    if UNCONFIGURED in _end(root, STATUS, root.find(STATUS).size):
        with progress.task(f"{CONFIGURING.what}, once", None, ""):
            has_failed = bool(_run(session, CONFIGURING, null, deadline))
    with progress.task(f"{COMPILING.what}, once", None, ""):
        _run(session, COMPILING, null, deadline)
    session.switch_off()
    if has_failed:
        failed = _end(root, LOG, SAID_BYTES).partition(FAILED)[2].decode(errors="replace").split()
        progress.note(
            f"not configured: {', '.join(failed) or 'some packages'}; "
            "dpkg --configure -a in the guest says why"
        )


def _run(session: Session, step: Step, null: int, deadline: float) -> int:
    """Run a step; its status. ImageError if the guest ends, or takes too long."""
    command = session.start_command(["sh", "-c", step.script], (None, null, null))
    status = session.wait(command, max(0.0, deadline - time.monotonic()))
    if status is None:
        raise ImageError(f"{step.what} took longer than {TIME_LIMIT_S:.0f} s")
    return status


def _end(root: Stack, path: str, size: int) -> bytes:
    """The last bytes of a file in a guest that does not run; none if it is no file."""
    try:
        inode = root.find(path)
        data = bytearray(min(size, inode.size))
        root.read_into(inode.ino, inode.size - len(data), [memoryview(data)])
    except OSError:
        return b""
    return bytes(data)
