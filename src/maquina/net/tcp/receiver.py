"""The half of a connection that takes bytes from the guest: puts them in order."""

from __future__ import annotations

from maquina.net.checksum import Buffer
from maquina.net.tcp.budget import Budget

# What the guest may send ahead of what the host's socket has taken, advertised as the window.
WINDOW_BYTES = 512 << 10
WINDOW_SCALE = 4
# Without window scaling the field has 16 bits.
LARGEST_UNSCALED = 65535

# Segments that came before one that was lost. Single bytes would each be an object of their own.
MAX_EARLY = 256
MAX_BLOCKS = 4  # what fits the 40 bytes of options


class Receiver:
    """The next sequence number wanted, and what came too early."""

    def __init__(self, first: int, budget: Budget) -> None:
        self.nxt = first
        self.limit = first  # one beyond the last sequence number the guest was told it may send
        self._early: dict[int, bytes] = {}
        self._latest = first  # where the last early segment begins
        self._fin: int | None = None
        self._is_fin_taken = False
        self._budget = budget

    @property
    def has_early(self) -> bool:
        """Whether something is missing before bytes that came."""
        return bool(self._early)

    def accept(self, seq: int, payload: Buffer, has_fin: bool) -> list[Buffer]:
        """Take a segment; the bytes that are now next, in order. Duplicates are cut off."""
        end = seq + len(payload)
        if has_fin and self._fin is None and end >= self.nxt:
            self._fin = end
        if end > self.limit:
            payload = payload[: max(self.limit - seq, 0)]
            end = seq + len(payload)
        if seq > self.nxt:
            self._keep(seq, payload)
            return []
        if end <= self.nxt:
            return []
        ready: list[Buffer] = [payload[self.nxt - seq :] if seq < self.nxt else payload]
        self.nxt = end
        if self._early:
            self._append_early(ready)
        return ready

    def blocks(self) -> list[tuple[int, int]]:
        """What came early, as ranges; the latest first (RFC 2018, 4)."""
        merged: list[tuple[int, int]] = []
        for seq in sorted(self._early):
            end = seq + len(self._early[seq])
            if merged and seq <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
            else:
                merged.append((seq, end))
        merged.sort(key=lambda block: not block[0] <= self._latest < block[1])
        return merged[:MAX_BLOCKS]

    def take_fin(self) -> bool:
        """Whether the guest's FIN is next; true once."""
        if self._fin is None or self._fin != self.nxt or self._is_fin_taken:
            return False
        self._is_fin_taken = True
        self.nxt += 1
        return True

    def release(self) -> None:
        """Forget what came too early."""
        for piece in self._early.values():
            self._budget.give(len(piece))
        self._early.clear()

    def _keep(self, seq: int, payload: Buffer) -> None:
        kept = self._early.get(seq)
        if not payload or kept is not None or len(self._early) >= MAX_EARLY:
            return
        if self._budget.take(len(payload)):
            self._early[seq] = bytes(payload)
            self._latest = seq

    def _append_early(self, ready: list[Buffer]) -> None:
        for seq in sorted(self._early):
            if seq > self.nxt:
                break
            piece = self._early.pop(seq)
            self._budget.give(len(piece))
            end = seq + len(piece)
            if end > self.nxt:
                ready.append(piece[self.nxt - seq :])
                self.nxt = end
