"""A FUSE server: requests of a guest's kernel, answered from a file tree.

It knows neither virtio nor files: buffers come from whoever carries the requests, and the tree is
a `maquina.machine.files.FileTree`. Requests are answered one after another, each at once, so there
is nothing in flight between them. Data moves between the tree's host files and the guest's buffers
without a copy here. A request that makes no sense is answered EINVAL, whatever it is.
"""

from __future__ import annotations

import errno

from maquina.devices.fuse_abi import IN_HEADER, OUT_HEADER, WRITE_IN, Op
from maquina.devices.fuse_operations import OPERATIONS, Answer
from maquina.devices.fuse_session import Buffers, Request, Session
from maquina.devices.virtio.buffers import gather, scatter, size_of, split
from maquina.machine.clock import Clock
from maquina.machine.files import FileTree
from maquina.machine.state import State

# Bytes of a request other than the data of a WRITE. The largest sets an extended attribute of
# 64 KiB; without a bound a guest could have gigabytes gathered into one.
MAX_BODY = 1 << 17


class FuseServer:
    """One mount of `tree`."""

    def __init__(self, tree: FileTree, clock: Clock) -> None:
        self._session = Session(tree, clock)

    def handle(self, readable: Buffers, writable: Buffers) -> int:
        """Serve the request in `readable`; answers how many bytes of `writable` it filled."""
        head, rest = split(readable, IN_HEADER.size)
        place, room = split(writable, OUT_HEADER.size)
        header = gather(head, IN_HEADER.size)
        if len(header) < IN_HEADER.size:
            return 0
        _, opcode, unique, node, uid, gid, _, _ = IN_HEADER.unpack(header)
        request = Request(node, (uid, gid), room)
        try:
            answer = self._serve(opcode, request, rest)
            error = 0
        except OSError as failure:
            answer, error = b"", failure.errno or errno.EIO
        if answer is None or size_of(place) < OUT_HEADER.size:
            return 0
        if not isinstance(answer, int):
            if len(answer) > request.size:
                answer, error = b"", errno.ERANGE
            answer = scatter(room, answer)
        length = OUT_HEADER.size + answer
        scatter(place, OUT_HEADER.pack(length, -error, unique))
        return length

    def reset(self) -> None:
        """The guest is gone, or begins anew."""
        self._session.end()

    def save(self) -> dict[str, State]:
        """What was agreed, and which files the guest refers to."""
        return self._session.save()

    def restore(self, state: dict[str, State]) -> None:
        """Take over a saved session. StateError if the tree is not the one it was saved with."""
        self._session.restore(state)

    def _serve(self, opcode: int, request: Request, rest: Buffers) -> Answer:
        operation = OPERATIONS.get(opcode)
        if operation is None:
            raise OSError(errno.ENOSYS, "no such operation")
        if not self._session.is_started and opcode != Op.INIT:
            raise OSError(errno.EIO, "not mounted")
        if request.size < operation.room:
            raise OSError(errno.EINVAL, "no room for the answer")
        if opcode == Op.WRITE:
            rest, request.data = split(rest, WRITE_IN.size)
        elif size_of(rest) > MAX_BODY:
            raise OSError(errno.EINVAL, "too large a request")
        request.body = gather(rest, MAX_BODY)
        if len(request.body) < operation.body:
            raise OSError(errno.EINVAL, "too short a request")
        return operation.serve(self._session, request)
