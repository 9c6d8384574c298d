"""A serial port: NS16550A (National Semiconductor PC16550D data sheet, chapter 8).

Eight registers of one byte. Sending takes no time, so the transmitter is always empty and its
FIFO is never seen; the line has no speed, so the divisor is kept and not used, and the time-out
that reports a few bytes below the trigger level has passed as soon as they arrive.

Input waits at the backend while the receiver is full: nothing is lost, and the overrun error
occurs in loopback only.

Whenever something happens that could interrupt, the wire goes up anew, also if it was up: an
interrupt controller that wants an edge sees each one, another sees the level.
"""

from __future__ import annotations

from collections import deque

from maquina.machine.backends import CharBackend
from maquina.machine.interrupts import Line
from maquina.machine.state import Fields, State

SIZE = 0x100
FIFO_SIZE = 16
RBR_THR, IER_DLM, IIR_FCR, LCR, MCR, LSR, MSR, SCR = range(8)

IER_RECEIVED, IER_EMPTY, IER_ERROR, IER_MODEM = 1, 2, 4, 8
IIR_MODEM, IIR_NONE, IIR_EMPTY, IIR_RECEIVED, IIR_ERROR, IIR_TIMEOUT = 0, 1, 2, 4, 6, 12
IIR_FIFO = 0xC0
FCR_ENABLE, FCR_CLEAR_RECEIVER, FCR_CLEAR_TRANSMITTER = 1, 2, 4
TRIGGER_LEVELS = (1, 4, 8, 14)
LCR_DLAB = 0x80
MCR_LOOPBACK, MCR_ALL = 0x10, 0x1F
LSR_READY, LSR_OVERRUN, LSR_BREAK, LSR_EMPTY = 0x01, 0x02, 0x10, 0x60
LSR_ERRORS = 0x1E
MSR_CONNECTED = 0xB0  # clear to send, data set ready, carrier detect
MSR_TRAILING_RING = 0x04
LOOPBACK_WIRES = ((1, 0x20), (2, 0x10), (4, 0x40), (8, 0x80))  # MCR to MSR: DTR-DSR, RTS-CTS...


class Uart16550:
    """Whoever attaches the backend hands it `receive`, under the machine's lock."""

    def __init__(self, backend: CharBackend, line: Line) -> None:
        self._backend, self._line = backend, line
        self._fifo: deque[int] = deque()
        self._divisor = 12  # 9,600 baud at 1.8432 MHz
        self._ier = self._lcr = self._mcr = self._scr = self._fcr = 0
        self._errors = 0  # of LSR
        self._deltas = 0  # of MSR: what changed since it was read
        self._is_empty_new = False  # the transmitter became empty, and IIR was not read since
        self._has_refused = False  # the backend has more input

    # -- from the host -------------------------------------------------------------------------

    def receive(self, data: bytes) -> int:
        """Input for the guest; answers how many bytes were taken. The rest is asked for later."""
        room = 0 if self._mcr & MCR_LOOPBACK else self._capacity - len(self._fifo)
        taken = data[: max(room, 0)]
        self._fifo.extend(taken)
        self._has_refused = len(taken) < len(data)
        self._update(is_event=bool(taken))
        return len(taken)

    def receive_break(self) -> None:
        """The other end holds the line low; Linux takes the next byte as a SysRq command."""
        if len(self._fifo) < self._capacity:
            self._fifo.append(0)
            self._errors |= LSR_BREAK
            self._update(is_event=True)

    @property
    def _capacity(self) -> int:
        return FIFO_SIZE if self._fcr & FCR_ENABLE else 1

    # -- as registers --------------------------------------------------------------------------

    def read(self, offset: int, size: int) -> int:  # noqa: ARG002
        """Registers have 8 bits; wider accesses see zeros above."""
        if offset == RBR_THR:
            return self._read_data()
        if offset == IIR_FCR:
            return self._read_cause()
        if offset == LSR:
            return self._read_line_status()
        if offset == MSR:
            return self._read_modem_status()
        ier = self._divisor >> 8 if self._is_divisor else self._ier
        return {IER_DLM: ier, LCR: self._lcr, MCR: self._mcr, SCR: self._scr}.get(offset, 0)

    def write(self, offset: int, size: int, value: int) -> None:  # noqa: ARG002
        value &= 0xFF
        if offset == RBR_THR:
            self._write_data(value)
        elif offset == IER_DLM:
            self._write_enables(value)
        elif offset == IIR_FCR:
            self._write_fifo_control(value)
        elif offset == LCR:
            self._lcr = value
        elif offset == MCR:
            self._write_modem_control(value)
        elif offset == SCR:
            self._scr = value
        self._update(is_event=True)

    @property
    def _is_divisor(self) -> bool:
        """DLAB: the first two registers are the divisor."""
        return bool(self._lcr & LCR_DLAB)

    def _read_data(self) -> int:
        if self._is_divisor:
            return self._divisor & 0xFF
        value = self._fifo.popleft() if self._fifo else 0
        self._update(is_event=True)  # for drivers that take one byte at each interrupt
        self._ask_for_more()
        return value

    def _ask_for_more(self) -> None:
        """Last in any access: the backend may call `receive` from within."""
        if self._has_refused and not self._fifo and not self._mcr & MCR_LOOPBACK:
            self._has_refused = False
            self._backend.ready()

    def _write_data(self, value: int) -> None:
        if self._is_divisor:
            self._divisor = self._divisor & 0xFF00 | value
            return
        if self._mcr & MCR_LOOPBACK:
            self._loop_back(value)
        else:
            self._backend.write(bytes([value]))
        self._is_empty_new = True

    def _loop_back(self, value: int) -> None:
        """On an overrun a full FIFO keeps what it has, a single register the new byte (8.6)."""
        if len(self._fifo) == self._capacity:
            self._errors |= LSR_OVERRUN
            if self._fcr & FCR_ENABLE:
                return
            self._fifo.clear()
        self._fifo.append(value)

    def _write_enables(self, value: int) -> None:
        if self._is_divisor:
            self._divisor = self._divisor & 0xFF | value << 8
            return
        if value & ~self._ier & IER_EMPTY:
            self._is_empty_new = True  # enabled while empty: it interrupts at once
        self._ier = value & 0x0F

    def _write_fifo_control(self, value: int) -> None:
        """8.4: switching the FIFOs on or off empties them; the other bits need them on."""
        is_switched = (value ^ self._fcr) & FCR_ENABLE
        if is_switched or value & FCR_CLEAR_RECEIVER:
            self._fifo.clear()
        if is_switched or value & FCR_CLEAR_TRANSMITTER:
            self._is_empty_new = True
        self._fcr = value & (0xC0 | FCR_ENABLE) if value & FCR_ENABLE else 0
        self._update()
        self._ask_for_more()

    def _write_modem_control(self, value: int) -> None:
        before = self._modem_lines()
        self._mcr = value & MCR_ALL
        changed = before ^ self._modem_lines()
        self._deltas |= changed >> 4 & ~MSR_TRAILING_RING
        if changed & before & 0x40:
            self._deltas |= MSR_TRAILING_RING
        self._update()
        self._ask_for_more()

    def _read_cause(self) -> int:
        cause = self._cause()
        if cause == IIR_EMPTY:
            self._is_empty_new = False
            self._update()
        return cause | (IIR_FIFO if self._fcr & FCR_ENABLE else 0)

    def _read_line_status(self) -> int:
        status = self._errors | LSR_EMPTY | (LSR_READY if self._fifo else 0)
        self._errors = 0
        self._update()
        return status

    def _read_modem_status(self) -> int:
        status = self._modem_lines() | self._deltas
        self._deltas = 0
        self._update()
        return status

    def _modem_lines(self) -> int:
        if not self._mcr & MCR_LOOPBACK:
            return MSR_CONNECTED
        return sum(line for wire, line in LOOPBACK_WIRES if self._mcr & wire)

    def _cause(self) -> int:
        """The interrupt to report: table 8-5, in its order of priority."""
        if self._ier & IER_ERROR and self._errors:
            return IIR_ERROR
        if self._ier & IER_RECEIVED and self._fifo:
            is_below = self._fcr & FCR_ENABLE and len(self._fifo) < TRIGGER_LEVELS[self._fcr >> 6]
            return IIR_TIMEOUT if is_below else IIR_RECEIVED
        if self._ier & IER_EMPTY and self._is_empty_new:
            return IIR_EMPTY
        if self._ier & IER_MODEM and self._deltas:
            return IIR_MODEM
        return IIR_NONE

    def _update(self, *, is_event: bool = False) -> None:
        if is_event:
            self._line.set(False)
        self._line.set(self._cause() != IIR_NONE)

    # -- saving --------------------------------------------------------------------------------

    def save(self) -> dict[str, State]:
        return {
            "fifo": bytes(self._fifo),
            "divisor": self._divisor,
            "ier": self._ier,
            "fcr": self._fcr,
            "lcr": self._lcr,
            "mcr": self._mcr,
            "scr": self._scr,
            "errors": self._errors,
            "deltas": self._deltas,
            "is_empty_new": self._is_empty_new,
        }

    def restore(self, state: dict[str, State]) -> None:
        fields = Fields(state, "the UART")
        fcr = fields.integer("fcr", 0, 0xC1)
        if fcr & 0x3E or (fcr and not fcr & FCR_ENABLE):
            raise fields.error("fcr", "has strange bits")
        fifo = fields.data("fifo", FIFO_SIZE if fcr else 1)
        divisor = fields.integer("divisor", 0, 0xFFFF)
        ier, mcr = fields.integer("ier", 0, 0x0F), fields.integer("mcr", 0, MCR_ALL)
        lcr, scr = fields.integer("lcr", 0, 0xFF), fields.integer("scr", 0, 0xFF)
        deltas, errors = fields.integer("deltas", 0, 0x0F), fields.integer("errors", 0, LSR_ERRORS)
        self._is_empty_new = fields.flag("is_empty_new")
        self._fifo, self._divisor, self._fcr = deque(fifo), divisor, fcr
        self._ier, self._mcr, self._lcr, self._scr = ier, mcr, lcr, scr
        self._deltas, self._errors = deltas, errors & LSR_ERRORS
        self._has_refused = False
        self._update()
