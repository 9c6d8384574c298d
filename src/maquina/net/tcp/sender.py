"""The half of a connection that carries bytes to the guest.

Nothing waits here unsent: bytes are taken from the host's socket only when `room` says that the
guest has space for them. So what is held is exactly what is in flight, kept to be sent again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from maquina.net.checksum import Buffer
from maquina.net.tcp.budget import Budget
from maquina.net.tcp.segment import ACK, DEFAULT_MSS, FIN, PSH, SYN

# A guest may advertise a window of a gigabyte and never acknowledge anything.
MAX_IN_FLIGHT_BYTES = 1 << 20

# Retransmission timeouts in seconds: RFC 6298, with Linux's lower bound.
FIRST_RTO_S = 1.0
SHORTEST_RTO_S = 0.2
LONGEST_RTO_S = 60.0
# So many in a row without any sign of the guest, about five minutes, and it is taken for gone.
MAX_RETRIES = 12
# A guest that was restarted has forgotten its connections; after so long it is asked.
KEEP_ALIVE_S = 600.0
DUPLICATES_FOR_LOSS = 3  # RFC 5681, 3.2

Emit = Callable[[int, int, Buffer], None]  # flags, sequence number, payload


class Sent:
    """A segment in flight: sequence numbers `seq` up to `end`."""

    __slots__ = ("end", "flags", "is_repeated", "payload", "sent_at", "seq")

    def __init__(self, seq: int, flags: int, payload: Buffer, now: float) -> None:
        self.seq = seq
        self.flags = flags
        self.payload = payload
        self.end = seq + len(payload) + (1 if flags & (SYN | FIN) else 0)
        self.sent_at = now
        self.is_repeated = False


class Sender:
    """Sequence numbers, the guest's window, retransmission; `expire` is due at `deadline`."""

    def __init__(self, isn: int, emit: Emit, budget: Budget) -> None:
        self.una = isn  # the oldest not acknowledged
        self.nxt = isn  # the next to be sent
        self.window = 0
        self.scale = 0
        self.mss = DEFAULT_MSS
        self.deadline: float | None = None  # None until something was sent
        self._emit = emit
        self._budget = budget
        self._flight: deque[Sent] = deque()
        self._largest_window = 0
        self._window_seq = self._window_ack = -1  # the segment that last set the window
        self._rto = FIRST_RTO_S
        self._srtt: float | None = None
        self._rttvar = 0.0
        self._retries = 0  # how often the timeout has doubled
        self._silent = 0  # deadlines since the guest was last heard
        self._duplicates = 0
        self._recover = isn  # losses are repaired one by one until this is acknowledged

    @property
    def is_all_acknowledged(self) -> bool:
        return self.una == self.nxt

    def room(self) -> int:
        """How many bytes the guest can take now; 0 rather than a sliver (RFC 9293, 3.8.6.2.1)."""
        in_flight = self.nxt - self.una
        room = min(self.window, MAX_IN_FLIGHT_BYTES) - in_flight
        if in_flight == 0:
            # One segment is always allowed, so that no flow starves when others hold everything.
            return min(room, max(self.mss, self._budget.left))
        room = min(room, self._budget.left)
        return room if room >= min(self.mss, self._largest_window // 2) else 0

    def send(self, data: bytes, now: float) -> None:
        """Send bytes, at most `room` of them, in segments."""
        self._budget.left -= len(data)
        if len(data) <= self.mss:
            self._transmit(ACK | PSH, data, now)
            return
        view = memoryview(data)
        for at in range(0, len(data), self.mss):
            piece = view[at : at + self.mss]
            self._transmit(ACK | PSH if at + self.mss >= len(data) else ACK, piece, now)

    def send_flag(self, flags: int, now: float) -> None:
        """Send a SYN or FIN, which is a sequence number of its own."""
        self._transmit(flags, b"", now)

    def acknowledge(self, ack: int, is_duplicate: bool, now: float) -> None:
        """The guest has everything before `ack`, which is not beyond `nxt`.

        `is_duplicate` says that the segment brought nothing else (RFC 5681, 2).
        """
        if ack > self.una:
            self._advance(ack, now)
        elif ack == self.una and is_duplicate and self._flight:
            self._duplicates += 1
            if self._duplicates == DUPLICATES_FOR_LOSS and self.una >= self._recover:
                self._recover = self.nxt
                self._repeat(now)

    def set_window(self, window: int, seq: int, ack: int, now: float) -> None:
        """The guest's window, as a segment with `seq` and `ack` has it; older ones count not."""
        if (seq, ack) < (self._window_seq, self._window_ack):
            return
        self._window_seq, self._window_ack = seq, ack
        self.window = window << self.scale
        self._largest_window = max(self._largest_window, self.window)
        if not self._flight:
            if self.window:
                self._retries = 0
            self._schedule(now)

    def heard(self) -> None:
        """The guest sent something that makes sense: it is not gone."""
        self._silent = 0

    def expire(self, now: float) -> bool:
        """The deadline has passed: repeat or probe. False if it was tried often enough."""
        self._retries += 1
        self._silent += 1
        if self._silent > MAX_RETRIES:
            return False
        if self._flight:
            self._recover = self.nxt
            self._repeat(now)
        else:
            self._probe()
        self._schedule(now)
        return True

    def release(self) -> None:
        """Forget what is in flight."""
        for sent in self._flight:
            self._budget.give(len(sent.payload))
        self._flight.clear()
        self.deadline = None

    def _transmit(self, flags: int, payload: Buffer, now: float) -> None:
        sent = Sent(self.nxt, flags, payload, now)
        self._flight.append(sent)
        self.nxt = sent.end
        if self.deadline is None or len(self._flight) == 1:
            self._schedule(now)
        self._emit(flags, sent.seq, payload)

    def _advance(self, ack: int, now: float) -> None:
        flight = self._flight
        newest: Sent | None = None
        while flight and flight[0].end <= ack:
            newest = flight.popleft()
            self._budget.left += len(newest.payload)
        self.una = ack
        self._duplicates = 0
        self._retries = 0
        if newest is not None and not newest.is_repeated:
            self._measure(now - newest.sent_at)
        if flight and ack < self._recover:
            self._repeat(now)
        self._schedule(now)

    def _repeat(self, now: float) -> None:
        sent = self._flight[0]
        sent.is_repeated = True
        sent.sent_at = now
        self._emit(sent.flags, sent.seq, sent.payload)

    def _probe(self) -> None:
        """Ask for the window: an old sequence number makes the guest answer with what it has."""
        self._emit(ACK, self.una - 1, b"")

    def _measure(self, rtt: float) -> None:
        if self._srtt is None:
            self._srtt, self._rttvar = rtt, rtt / 2
        else:
            self._rttvar += (abs(self._srtt - rtt) - self._rttvar) / 4
            self._srtt += (rtt - self._srtt) / 8
        self._rto = min(max(self._srtt + 4 * self._rttvar, SHORTEST_RTO_S), LONGEST_RTO_S)

    def _schedule(self, now: float) -> None:
        """One deadline with three meanings: retransmission while something is in flight, a probe
        of a closed window (RFC 9293, 3.8.6.1), and a look whether the guest is still there."""
        if self._flight or self.window == 0 or self._silent:
            wait = min(self._rto * 2 ** min(self._retries, 12), LONGEST_RTO_S)
        else:
            wait = KEEP_ALIVE_S
        self.deadline = now + wait
