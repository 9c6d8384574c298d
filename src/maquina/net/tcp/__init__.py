"""TCP between the guest and sockets of the host, as an end point of its own for each flow.

Reading order: `states` (the machine, as a table), `segment` (the wire format), `sender` (bytes to
the guest: windows, retransmission), `receiver` (bytes from it: ordering), `connection` (the two
halves and the states together; no sockets, no clock: it can be tested alone), `flow` (a connection
and a socket of the host, and the pressure between them), `nat` (all flows of a guest).

The guest's end is RFC 9293 without congestion control: the cable is a queue in this process, its
only limit the window that the guest advertises. Loss happens (bounded queues), so what was sent is
kept until it is acknowledged, and the guest is told what came after a gap (SACK). Not offered:
time stamps, urgent data.
"""
