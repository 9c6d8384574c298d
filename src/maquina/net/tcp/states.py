"""The life of a TCP connection, seen from the router's side of the cable.

Theory of operation. A flow joins two connections: the guest's, which ends here and follows RFC
9293 (figure 5), and the host's, which the kernel runs behind a socket. Who opens decides how it
begins:

- The guest opens. Its SYN is not answered at once: CONNECTING lasts while the host's socket
  connects, so that the guest sees a refusal as a refusal, not as a connection that dies. Then
  SYN|ACK, and SYN_RECEIVED until the guest acknowledges it.
- A client of a published port opens. Its connection is already accepted; SYN goes to the guest,
  and SYN_SENT lasts until the guest's SYN|ACK.

The middle is ESTABLISHED, and the end is two half-closes that may come in either order:

- HOST_DONE: the host's socket reached end of file and everything before it was sent; our FIN goes
  out (FIN_SENT), and is acknowledged later (FIN_ACKED).
- GUEST_DONE: the guest's FIN came in order; the host's socket is shut down for writing as soon as
  it has taken all bytes before.

Any end that is not a half-close (reset from either side, patience exhausted, flow evicted) is
ABORTED, possible everywhere. Which events can happen where is the table; an event that is not in
a state's row is a bug of the caller, not of the guest, and raises KeyError.

TIME_WAIT is short: its purpose here is to acknowledge a FIN again if our acknowledgement was lost
on the cable, not to outlive segments that wander about in an internet.
"""

from __future__ import annotations

from enum import Enum, auto


class State(Enum):
    """RFC 9293's names, and CONNECTING."""

    CONNECTING = auto()
    SYN_SENT = auto()
    SYN_RECEIVED = auto()
    ESTABLISHED = auto()
    FIN_WAIT_1 = auto()
    FIN_WAIT_2 = auto()
    CLOSE_WAIT = auto()
    CLOSING = auto()
    LAST_ACK = auto()
    TIME_WAIT = auto()
    CLOSED = auto()


class Event(Enum):
    """What moves a connection from state to state."""

    HOST_CONNECTED = auto()
    SYN_ACKED = auto()
    FIN_SENT = auto()
    FIN_ACKED = auto()
    GUEST_DONE = auto()
    EXPIRED = auto()
    ABORTED = auto()


TRANSITIONS: dict[State, dict[Event, State]] = {
    State.CONNECTING: {Event.HOST_CONNECTED: State.SYN_RECEIVED},
    State.SYN_SENT: {Event.SYN_ACKED: State.ESTABLISHED},
    State.SYN_RECEIVED: {Event.SYN_ACKED: State.ESTABLISHED},
    State.ESTABLISHED: {Event.FIN_SENT: State.FIN_WAIT_1, Event.GUEST_DONE: State.CLOSE_WAIT},
    State.FIN_WAIT_1: {Event.FIN_ACKED: State.FIN_WAIT_2, Event.GUEST_DONE: State.CLOSING},
    State.FIN_WAIT_2: {Event.GUEST_DONE: State.TIME_WAIT},
    State.CLOSE_WAIT: {Event.FIN_SENT: State.LAST_ACK},
    State.CLOSING: {Event.FIN_ACKED: State.TIME_WAIT},
    State.LAST_ACK: {Event.FIN_ACKED: State.CLOSED},
    State.TIME_WAIT: {Event.EXPIRED: State.CLOSED},
    State.CLOSED: {},
}
for row in TRANSITIONS.values():
    row[Event.ABORTED] = State.CLOSED

# Where bytes from the host may go to the guest, and bytes of the guest to the host.
MAY_SEND = frozenset((State.ESTABLISHED, State.CLOSE_WAIT))
MAY_RECEIVE = frozenset((State.ESTABLISHED, State.FIN_WAIT_1, State.FIN_WAIT_2))

# Where segments have sequence numbers that both sides know (RFC 9293's synchronized states).
SYNCHRONIZED = frozenset(State) - {
    State.CONNECTING,
    State.SYN_SENT,
    State.SYN_RECEIVED,
    State.CLOSED,
}
FINISHED = frozenset((State.TIME_WAIT, State.CLOSED))
