"""The guest's end of the cable: frames queued both ways between the machine's threads and ours."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

# A guest may send faster than a host thread works. What does not fit is lost, as on a real wire,
# and TCP sends it again.
MAX_FROM_GUEST_BYTES = 16 << 20
MAX_FROM_GUEST_FRAMES = 8192

# A guest that never gives its network card a buffer would make everything sent to it pile up.
# Sockets are not read while frames wait here, so only answers to the guest's own frames add to it.
MAX_TO_GUEST_BYTES = 4 << 20
MAX_TO_GUEST_FRAMES = 4096

LARGEST_FRAME = 14 + 65535


class Cable:
    """Two bounded queues. `put` and `take` are for different threads and need no lock: each side
    only ever adds to its own counter."""

    def __init__(self) -> None:
        self._from_guest: deque[bytes] = deque()
        self._bytes_put = 0
        self._bytes_taken = 0
        self._to_guest: deque[bytes] = deque()
        self._to_guest_bytes = 0
        self._receive: Callable[[bytes], bool] | None = None
        self.lost_from_guest = 0
        self.lost_to_guest = 0
        self.frames_to_guest = 0
        self.frames_from_guest = 0

    # From the guest

    @property
    def has_frames(self) -> bool:
        """Whether `take` would find a frame."""
        return bool(self._from_guest)

    def put(self, frame: bytes) -> None:
        """Called by the machine, one thread at a time."""
        is_full = (
            self._bytes_put - self._bytes_taken > MAX_FROM_GUEST_BYTES
            or len(self._from_guest) >= MAX_FROM_GUEST_FRAMES
        )
        if is_full or len(frame) > LARGEST_FRAME:
            self.lost_from_guest += 1
            return
        self._bytes_put += len(frame)
        self._from_guest.append(frame)

    def take(self) -> bytes | None:
        """The oldest frame from the guest, if there is one."""
        if not self._from_guest:
            return None
        frame = self._from_guest.popleft()
        self._bytes_taken += len(frame)
        self.frames_from_guest += 1
        return frame

    # To the guest

    @property
    def is_blocked(self) -> bool:
        """Whether frames wait for the guest to make room."""
        return bool(self._to_guest)

    def attach(self, receive: Callable[[bytes], bool]) -> None:
        """Say where frames for the guest go."""
        self._receive = receive

    def deliver(self, frame: bytes) -> None:
        """Give the guest a frame, now or when it has room."""
        if not self._to_guest and self._receive is not None and self._receive(frame):
            self.frames_to_guest += 1
        elif (
            self._to_guest_bytes + len(frame) > MAX_TO_GUEST_BYTES
            or len(self._to_guest) >= MAX_TO_GUEST_FRAMES
        ):
            self.lost_to_guest += 1
        else:
            self._to_guest.append(frame)
            self._to_guest_bytes += len(frame)

    def drain(self) -> None:
        """Offer the waiting frames again, until one is refused."""
        waiting = self._to_guest
        while waiting and self._receive is not None and self._receive(waiting[0]):
            self._to_guest_bytes -= len(waiting.popleft())
            self.frames_to_guest += 1
