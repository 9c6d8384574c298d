"""One TCP connection with the guest: states, the two halves, and what each segment does.

No socket and no clock in here: segments and the time come in as arguments, segments go out through
`transmit`, bytes of the guest come back from `receive`. The steps of `receive` are those of
RFC 9293, 3.10.7, with RFC 5961's care about resets.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from maquina.net.checksum import Buffer
from maquina.net.tcp.budget import Budget
from maquina.net.tcp.receiver import LARGEST_UNSCALED, WINDOW_BYTES, WINDOW_SCALE, Receiver
from maquina.net.tcp.segment import (
    ACK,
    FIN,
    RST,
    SYN,
    Options,
    Segment,
    build_options,
    build_sack,
    parse_options,
    unwrap,
)
from maquina.net.tcp.sender import Sender
from maquina.net.tcp.states import (
    FINISHED,
    MAY_RECEIVE,
    MAY_SEND,
    SYNCHRONIZED,
    TRANSITIONS,
    Event,
    State,
)

# See states: long enough for a guest to repeat a FIN whose acknowledgement was lost.
TIME_WAIT_S = 2.0


class Reply(NamedTuple):
    """A segment on its way out, but for the ports."""

    seq: int
    ack: int
    flags: int
    window: int = 0
    options: bytes = b""
    payload: Buffer = b""


Transmit = Callable[[Reply], None]


class Connection:
    """The router's end. `unread` is how many bytes of the guest the owner still holds;
    `is_aborted` tells a connection that broke from one that was closed by both sides."""

    def __init__(self, isn: int, mss: int, transmit: Transmit, budget: Budget) -> None:
        self.state = State.CLOSED
        self.is_aborted = False
        self.unread = 0
        self.sender = Sender(isn, self._emit, budget)
        self.receiver = Receiver(0, budget)
        self._transmit = transmit
        self._budget = budget
        self._mss = mss
        self._is_scaled = True  # until the guest's SYN says otherwise
        self._has_sack = True
        self._owes_ack = False
        self._expiry: float | None = None

    # Opening

    def open_to_guest(self, now: float) -> None:
        """Send SYN: a client of a published port wants the guest."""
        self.state = State.SYN_SENT
        self.sender.send_flag(SYN, now)

    def open_from_guest(self, syn: Segment, now: float) -> None:
        """Take the guest's SYN; it is answered by `accept`."""
        self.state = State.CONNECTING
        self._take_syn(syn, now)

    def accept(self, now: float) -> None:
        """The host's socket is connected: answer the SYN."""
        self._step(Event.HOST_CONNECTED)
        self.sender.send_flag(SYN | ACK, now)

    # What the owner does

    @property
    def may_send(self) -> bool:
        return self.state in MAY_SEND

    @property
    def is_finished(self) -> bool:
        """Whether nothing will come from the guest or go to it any more."""
        return self.state in FINISHED

    @property
    def deadline(self) -> float | None:
        """When to call `expire`."""
        if self.state is State.CONNECTING:
            return None  # the kernel's patience with the host's socket counts
        return self._expiry or self.sender.deadline

    def finish(self, now: float) -> None:
        """The host has said all: send FIN."""
        self._step(Event.FIN_SENT)
        self.sender.send_flag(FIN | ACK, now)

    def abort(self) -> None:
        """Send RST, unless both sides are done, and forget everything."""
        if self.state is State.CONNECTING:
            self._transmit(Reply(0, self.receiver.nxt, RST | ACK))
        elif not self.is_finished:
            self._transmit(Reply(self.sender.nxt, self.receiver.nxt, RST | ACK))
        self.close()

    def close(self) -> None:
        """Forget everything and say nothing."""
        if self.state is not State.CLOSED:
            self._step(Event.ABORTED)
            self.is_aborted = True
        self.sender.release()
        self.receiver.release()

    def expire(self, now: float) -> None:
        """The deadline has passed."""
        if self.state is State.TIME_WAIT:
            self._step(Event.EXPIRED)
        elif not self.sender.expire(now):
            self.abort()

    def flush(self) -> None:
        """Send the acknowledgement that is owed, or news of a window that opened."""
        if self.state not in SYNCHRONIZED:
            return
        if self._owes_ack or self._has_window_news():
            self._emit(ACK, self.sender.nxt, b"")

    # What the guest sends

    def receive(self, segment: Segment, now: float) -> list[Buffer]:
        """Take a segment; bytes for the host, in order. The state may have changed."""
        if self.state is State.SYN_SENT:
            self._receive_syn_sent(segment, now)
            return []
        if self.state is State.CONNECTING:
            if segment.flags & RST:
                self.close()
            return []
        if self.state is State.CLOSED:
            return []
        seq = unwrap(segment.seq, self.receiver.nxt)
        if not self._is_acceptable(segment, seq):
            return []
        self.sender.heard()
        if not self._take_ack(segment, seq, now):
            return []
        return self._take_payload(segment, seq, now)

    def _receive_syn_sent(self, segment: Segment, now: float) -> None:
        is_ours = bool(segment.flags & ACK) and segment.ack == self.sender.nxt & 0xFFFFFFFF
        if segment.flags & RST:
            if is_ours:
                self.close()
        elif segment.flags & ACK and not is_ours:
            self._transmit(Reply(segment.ack, 0, RST))
        elif segment.flags & SYN and is_ours:
            self._take_syn(segment, now)
            self._owes_ack = True
            self.sender.acknowledge(self.sender.nxt, is_duplicate=False, now=now)
            self._step(Event.SYN_ACKED)

    def _take_syn(self, syn: Segment, now: float) -> None:
        options = parse_options(syn.options)
        self._is_scaled, self._has_sack = options.scale is not None, options.has_sack
        self.sender.mss = min(options.mss, self._mss)
        self.receiver.nxt = self.receiver.limit = syn.seq + 1
        # A window in a SYN is never scaled (RFC 7323, 2.2).
        self.sender.scale = 0
        self.sender.set_window(syn.window, syn.seq, 0, now)
        self.sender.scale = options.scale or 0

    def _is_acceptable(self, segment: Segment, seq: int) -> bool:
        """Sequence number, RST and SYN: the first steps, which may end it."""
        end = seq + len(segment.payload) + bool(segment.flags & FIN)
        is_in_window = seq <= self.receiver.limit and end >= self.receiver.nxt
        if segment.flags & RST:
            if seq == self.receiver.nxt:
                self.close()
            elif is_in_window:
                self._owes_ack = True
            return False
        if not is_in_window or segment.flags & SYN:
            self._owes_ack = True
            return False
        return bool(segment.flags & ACK)

    def _take_ack(self, segment: Segment, seq: int, now: float) -> bool:
        ack = unwrap(segment.ack, self.sender.una)
        if ack > self.sender.nxt:
            self._owes_ack = True
            return False
        if self.state is State.SYN_RECEIVED:
            if ack != self.sender.nxt:
                return False
            self._step(Event.SYN_ACKED)
        window = segment.window << self.sender.scale
        is_duplicate = (
            not segment.payload and not segment.flags & FIN and window == self.sender.window
        )
        self.sender.acknowledge(ack, is_duplicate, now)
        self.sender.set_window(segment.window, seq, ack, now)
        if self.sender.is_all_acknowledged and Event.FIN_ACKED in TRANSITIONS[self.state]:
            self._step(Event.FIN_ACKED)
            self._await_expiry(now)
        return True

    def _take_payload(self, segment: Segment, seq: int, now: float) -> list[Buffer]:
        has_fin = bool(segment.flags & FIN)
        if self.state not in MAY_RECEIVE:
            self._owes_ack = self._owes_ack or has_fin or bool(segment.payload)
            return []
        if not segment.payload and not has_fin:
            # A keep-alive names an old sequence number and wants an answer.
            self._owes_ack = self._owes_ack or seq < self.receiver.nxt
            return []
        self._owes_ack = True
        if self.unread and len(segment.payload) > self._budget.left:
            return []  # as if it were lost: the guest sends it again when others have drained
        before = self.receiver.nxt
        ready = self.receiver.accept(seq, segment.payload, has_fin)
        if self.receiver.take_fin():
            self._step(Event.GUEST_DONE)
            self._await_expiry(now)
        if self.receiver.nxt == before or self.receiver.has_early:
            # Something is missing: each such acknowledgement counts for the guest.
            self._emit(ACK, self.sender.nxt, b"")
        return ready

    # Inside

    def _step(self, event: Event) -> None:
        self.state = TRANSITIONS[self.state][event]

    def _await_expiry(self, now: float) -> None:
        if self.state is State.TIME_WAIT:
            self._expiry = now + TIME_WAIT_S

    def _window(self) -> int:
        size = max(WINDOW_BYTES - self.unread, 0)
        return size if self._is_scaled else min(size, LARGEST_UNSCALED)

    def _has_window_news(self) -> bool:
        """Whether the window opened enough to say so (RFC 9293, 3.8.6.2.2)."""
        told = self.receiver.limit - self.receiver.nxt
        return told < WINDOW_BYTES // 4 and self._window() - told >= min(self._mss, 65536)

    def _emit(self, flags: int, seq: int, payload: Buffer) -> None:
        window, options = self._window(), b""
        scale = WINDOW_SCALE if self._is_scaled else 0
        if flags & SYN:
            field = told = min(window, LARGEST_UNSCALED)  # RFC 7323, 2.2: not scaled here
            offered = scale if self._is_scaled else None
            options = build_options(Options(self._mss, offered, self._has_sack))
        else:
            field = window >> scale
            told = field << scale
            if self._has_sack and self.receiver.has_early and not payload:
                options = build_sack(self.receiver.blocks())
        self.receiver.limit = max(self.receiver.limit, self.receiver.nxt + told)
        self._owes_ack = False
        self._transmit(Reply(seq, self.receiver.nxt, flags, field, options, payload))
