"""The end point alone: no socket, no real time. Two talk over a link that the test spoils."""

from __future__ import annotations

import heapq
import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maquina.net.tcp import sender as sending
from maquina.net.tcp.budget import Budget
from maquina.net.tcp.connection import TIME_WAIT_S, Connection, Reply
from maquina.net.tcp.receiver import MAX_EARLY, WINDOW_BYTES
from maquina.net.tcp.segment import ACK, FIN, RST, SYN, Options, Segment, build_options
from maquina.net.tcp.states import TRANSITIONS, Event, State


class Peer:
    """A guest's side by hand: what the connection sends is listed, what it gets is made here."""

    def __init__(self, window: int = 65535, budget: Budget | None = None) -> None:
        self.sent: list[Reply] = []
        self.budget = budget or Budget()
        self.connection = Connection(0xFFFFFFF0, 1460, self.sent.append, self.budget)
        self.window = window
        self.seq = 1000
        syn = self.segment(SYN, options=build_options(Options(1000)))
        self.connection.open_from_guest(syn, 0.0)
        self.seq += 1
        self.connection.accept(0.0)
        self.hear(ACK)

    def state(self) -> State:
        return self.connection.state

    @property
    def acked(self) -> int:
        """What the peer would acknowledge: everything."""
        return self.connection.sender.nxt

    def segment(
        self,
        flags: int,
        data: bytes = b"",
        *,
        seq: int | None = None,
        ack: int | None = None,
        options: bytes = b"",
    ) -> Segment:
        ack = self.acked if ack is None else ack
        seq = self.seq if seq is None else seq
        window = self.window
        return Segment(1, 2, seq & 0xFFFFFFFF, ack & 0xFFFFFFFF, flags, window, options, data)

    def hear(
        self,
        flags: int,
        data: bytes = b"",
        *,
        seq: int | None = None,
        ack: int | None = None,
        now: float = 0.0,
    ) -> bytes:
        """Let the connection have a segment; the bytes it makes of it."""
        segment = self.segment(flags, data, seq=seq, ack=ack)
        got = b"".join(map(bytes, self.connection.receive(segment, now)))
        if seq is None:
            self.seq += len(data) + bool(flags & FIN)
        self.connection.flush()
        return got

    def last(self) -> Reply:
        """The latest segment, which is taken from the list."""
        return self.sent.pop()


def test_the_table_lets_every_state_end() -> None:
    for state in State:
        assert TRANSITIONS[state][Event.ABORTED] is State.CLOSED
        seen, frontier = {state}, {state}
        while frontier:
            frontier = {
                after
                for before in frontier
                for event, after in TRANSITIONS[before].items()
                if event is not Event.ABORTED
            } - seen
            seen |= frontier
        assert State.CLOSED in seen, f"{state} never ends by itself"


def test_the_guest_closes_first() -> None:
    peer = Peer()
    assert peer.hear(ACK, b"last words") == b"last words"
    peer.hear(FIN | ACK)
    assert peer.state() is State.CLOSE_WAIT
    assert peer.last().ack == peer.seq
    peer.connection.sender.send(b"reply", 0.0)
    peer.connection.finish(0.0)
    assert peer.state() is State.LAST_ACK
    peer.hear(ACK)
    assert peer.state() is State.CLOSED
    assert not peer.connection.is_aborted


def test_the_host_closes_first_and_a_repeated_fin_is_acknowledged() -> None:
    peer = Peer()
    peer.connection.finish(0.0)
    peer.hear(ACK)
    assert peer.state() is State.FIN_WAIT_2
    assert peer.hear(ACK, b"still talking") == b"still talking"
    peer.hear(FIN | ACK, now=5.0)
    assert peer.state() is State.TIME_WAIT
    peer.sent.clear()
    peer.hear(FIN | ACK, seq=peer.seq - 1)
    assert peer.last().ack == peer.seq
    assert peer.connection.deadline == 5.0 + TIME_WAIT_S
    peer.connection.expire(7.0)
    assert peer.state() is State.CLOSED


def test_both_close_at_once() -> None:
    peer = Peer()
    before = peer.acked
    peer.connection.finish(0.0)
    peer.hear(FIN | ACK, ack=before)
    assert peer.state() is State.CLOSING
    peer.hear(ACK)
    assert peer.state() is State.TIME_WAIT


def test_a_fin_that_overtakes_data_waits_for_it() -> None:
    peer = Peer()
    assert peer.hear(FIN | ACK, b"end", seq=peer.seq + 5) == b""
    assert peer.state() is State.ESTABLISHED
    assert peer.hear(ACK, b"begin") == b"beginend"
    assert peer.state() is State.CLOSE_WAIT


def test_early_segments_inside_others_are_not_taken_twice() -> None:
    peer = Peer()
    text = bytes(range(200))
    for begin, end in ((50, 60), (40, 100), (90, 120), (95, 97)):
        assert peer.hear(ACK, text[begin:end], seq=peer.seq + begin) == b""
    assert peer.hear(ACK, text[:45]) == text[:120]
    assert peer.last().ack == peer.seq + 75


def test_only_an_exact_reset_resets() -> None:
    peer = Peer()
    for wrong in (peer.seq + 1, peer.seq - 1, peer.seq + WINDOW_BYTES * 2):
        peer.hear(RST, seq=wrong)
        assert peer.state() is State.ESTABLISHED
    peer.hear(SYN, seq=peer.seq)  # the guest was restarted; our answer makes it say so
    assert peer.last().flags == ACK
    peer.hear(RST, seq=peer.seq)
    assert peer.connection.is_aborted
    assert not peer.sent or not peer.last().flags & RST


def test_what_is_not_acknowledged_is_repeated_with_growing_patience() -> None:
    peer = Peer()
    peer.connection.sender.send(b"important", 0.0)
    first, now, times = peer.last(), 0.0, []
    while peer.state() is not State.CLOSED:
        assert peer.connection.deadline is not None
        now = peer.connection.deadline
        times.append(now)
        peer.connection.expire(now)
        if peer.state() is not State.CLOSED:
            repeated = peer.last()
            assert (repeated.seq, repeated.payload) == (first.seq, first.payload)
    assert len(times) == sending.MAX_RETRIES + 1
    assert times[1] - times[0] < times[2] - times[1] < times[3] - times[2]
    assert peer.last().flags & RST
    assert peer.budget.left == Budget().left


def test_three_duplicates_make_a_fast_repetition() -> None:
    peer = Peer()
    start = peer.acked
    peer.connection.sender.send(b"x" * 5000, 0.0)
    peer.sent.clear()
    for _ in range(2):
        peer.hear(ACK, ack=start)
    assert peer.sent == []
    peer.hear(ACK, ack=start)
    assert [(reply.seq, len(reply.payload)) for reply in peer.sent] == [(start, 1000)]
    peer.hear(ACK, ack=start + 1000)  # a partial acknowledgement: the next was lost as well
    assert peer.last().seq == start + 1000


def test_a_closed_window_is_probed_and_waits_for_ever_while_answered() -> None:
    peer = Peer(window=0)
    assert peer.connection.sender.room() == 0
    now = 0.0
    for _ in range(50):
        assert peer.connection.deadline is not None
        now = peer.connection.deadline
        peer.connection.expire(now)
        probe = peer.last()
        assert (probe.seq, len(probe.payload)) == (peer.acked - 1, 0)
        peer.hear(ACK, now=now)
    assert peer.connection.deadline == now + sending.LONGEST_RTO_S
    peer.window = 5000
    peer.hear(ACK, now=now)
    assert peer.connection.sender.room() == 5000


def test_an_idle_guest_is_asked_whether_it_is_there() -> None:
    peer = Peer()
    assert peer.connection.deadline == sending.KEEP_ALIVE_S
    peer.connection.expire(600.0)
    assert peer.last().seq == peer.acked - 1
    peer.hear(ACK, now=600.1)
    peer.hear(ACK, b"x", now=601.0)
    assert peer.connection.deadline is not None
    for _ in range(sending.MAX_RETRIES + 1):
        peer.connection.expire(peer.connection.deadline)
    assert peer.connection.is_aborted


def test_slivers_are_not_sent() -> None:
    peer = Peer(window=2000)
    peer.connection.sender.send(b"x" * 1500, 0.0)
    assert peer.connection.sender.room() == 0
    peer.hear(ACK)
    assert peer.connection.sender.room() == 2000


def test_a_huge_window_is_not_believed() -> None:
    peer = Peer()
    peer.connection.sender.scale = 14
    peer.hear(ACK)
    assert peer.connection.sender.window == 65535 << 14
    assert peer.connection.sender.room() == sending.MAX_IN_FLIGHT_BYTES


def test_early_segments_are_bounded_and_beyond_the_window_dropped() -> None:
    peer = Peer()
    for number in range(MAX_EARLY * 2):
        peer.hear(ACK, b"y", seq=peer.seq + 10 + number * 2)
    assert Budget().left - peer.budget.left == MAX_EARLY
    assert peer.hear(ACK, b"z" * 100, seq=peer.seq + WINDOW_BYTES * 2) == b""
    assert Budget().left - peer.budget.left == MAX_EARLY
    peer.connection.abort()
    assert peer.budget.left == Budget().left


def test_when_all_is_held_a_flow_with_unread_bytes_gets_no_more() -> None:
    peer = Peer(budget=Budget(limit=10))
    assert peer.hear(ACK, b"x" * 100) == b"x" * 100
    peer.connection.unread = 100
    assert peer.hear(ACK, b"more than ten", seq=peer.seq) == b""
    peer.connection.unread = 0
    assert peer.hear(ACK, b"more than ten") == b"more than ten"


def test_unread_bytes_narrow_the_window_to_nothing() -> None:
    peer = Peer()
    peer.hear(ACK, b"x")
    assert peer.last().window == 65535
    peer.connection.unread = WINDOW_BYTES
    peer.hear(ACK, b"x")
    assert peer.last().window == 0
    peer.connection.unread = 0
    peer.connection.flush()
    assert peer.last().window == 65535


class Link:
    """Two connections and a spoiled link between them, in virtual time."""

    def __init__(self, seed: int, loss: float, mss: int) -> None:
        self._random = random.Random(seed)
        self._loss = loss
        self._order = itertools.count()
        self._events: list[tuple[float, int, int, Reply]] = []
        self.now = 0.0
        self.budget = Budget()
        self.ends = [
            Connection(
                self._random.getrandbits(32),
                mss,
                lambda reply, target=1 - index: self._carry(target, reply),  # type: ignore[misc]
                self.budget,
            )
            for index in range(2)
        ]

    def _carry(self, target: int, reply: Reply) -> None:
        reply = reply._replace(payload=bytes(reply.payload))
        while self._random.random() >= self._loss:
            at = self.now + self._random.random() * 0.003
            heapq.heappush(self._events, (at, next(self._order), target, reply))
            if self._random.random() < 0.95:
                break  # else it arrives twice

    def run(self, messages: list[bytes]) -> list[bytes]:
        """Carry each end's message to the other; what arrived."""
        self.ends[0].open_to_guest(0.0)
        left, got = [memoryview(message) for message in messages], [b"", b""]
        while not all(end.state in (State.CLOSED, State.TIME_WAIT) for end in self.ends):
            assert self.now < 3600
            self._step(got)
            for index, end in enumerate(self.ends):
                self._feed(end, left, index)
        return got

    def _step(self, got: list[bytes]) -> None:
        deadlines = [end.deadline for end in self.ends if end.state is not State.CLOSED]
        timer = min((at for at in deadlines if at is not None), default=float("inf"))
        if self._events and self._events[0][0] <= timer:
            self.now, _, target, reply = heapq.heappop(self._events)
            end = self.ends[target]
            masked = reply._replace(seq=reply.seq & 0xFFFFFFFF, ack=reply.ack & 0xFFFFFFFF)
            segment = Segment(1, 2, *masked)
            if end.state is State.CLOSED and segment.flags & SYN and target == 1:
                end.open_from_guest(segment, self.now)
                end.accept(self.now)
            got[target] += b"".join(map(bytes, end.receive(segment, self.now)))
        else:
            self.now = timer
            for end in self.ends:
                if end.deadline is not None and end.deadline <= self.now:
                    end.expire(self.now)
        for end in self.ends:
            end.flush()

    def _feed(self, end: Connection, left: list[memoryview], index: int) -> None:
        if not end.may_send:
            return
        room = end.sender.room()
        if left[index] and room > 0:
            end.sender.send(bytes(left[index][:room]), self.now)
            left[index] = left[index][room:]
        elif not left[index]:
            end.finish(self.now)


@settings(derandomize=True, max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 1 << 32),
    loss=st.sampled_from([0.0, 0.02, 0.2]),
    mss=st.sampled_from([100, 1460, 65480]),
    sizes=st.tuples(st.integers(0, 200_000), st.integers(0, 50_000)),
)
def test_bytes_arrive_in_order_whatever_the_link_does(
    seed: int, loss: float, mss: int, sizes: tuple[int, int]
) -> None:
    """Every byte arrives once and in order, both ends close, and nothing stays held."""
    if loss == 0.2:
        sizes = (sizes[0] // 20, sizes[1] // 20)
    source = random.Random(seed)
    messages = [source.randbytes(size) for size in sizes]
    link = Link(seed, loss, mss)
    assert link.run(messages) == messages[::-1]
    for end in link.ends:
        end.close()
    assert link.budget.left == Budget().left


@settings(derandomize=True, max_examples=300, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 63),
            st.integers(-70000, 70000),
            st.integers(-70000, 70000),
            st.integers(0, 65535),
            st.binary(max_size=30),
        ),
        max_size=30,
    )
)
def test_no_sequence_of_segments_raises(
    segments: list[tuple[int, int, int, int, bytes]],
) -> None:
    """Whatever segments come, nothing is raised and the counted bytes stay within bounds."""
    peer = Peer()
    now = 0.0
    for flags, seq, ack, window, data in segments:
        peer.window = window
        peer.hear(flags, data, seq=peer.seq + seq, ack=peer.acked + ack, now=now)
        if peer.connection.may_send and peer.connection.sender.room() > 0:
            peer.connection.sender.send(b"s" * min(peer.connection.sender.room(), 3000), now)
        if peer.connection.deadline is not None and flags % 5 == 0:
            now = max(now, peer.connection.deadline)
            peer.connection.expire(now)
        now += 0.01
    peer.connection.close()
    assert peer.budget.left == Budget().left


@pytest.mark.parametrize("flags", range(64))
def test_opening_to_a_guest_takes_only_its_answer(flags: int) -> None:
    sent: list[Reply] = []
    connection = Connection(100, 1460, sent.append, Budget())
    connection.open_to_guest(0.0)
    for ack in (100, 101, 102):
        connection.receive(Segment(1, 2, 5, ack, flags, 1000, b"", b""), 0.0)
        if ack == 101 and flags & ACK and flags & RST:
            assert connection.is_aborted
            return
        if ack == 101 and flags & (SYN | ACK) == SYN | ACK:
            assert connection.state in (State.ESTABLISHED, State.CLOSED)
            return
        assert connection.state is State.SYN_SENT
