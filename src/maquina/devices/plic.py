"""The platform-level interrupt controller of RISC-V (PLIC specification 1.0.0).

Sources have a priority and are level-triggered; contexts (a hart in one mode) have an enable bit
for each source and a threshold. The life of an interrupt (chapter 1.3): its gateway makes it
pending when the wire is up; a context claims it, which ends that; until the context completes it
the gateway holds it back, and then makes it pending again if the wire is still up. A pending
interrupt stays so when its wire goes down: a gateway cannot withdraw a request.

What a gateway takes for a request is the platform's to say. Those of `event_sources` want more
than a level: the wire must have risen since the claim. A driver that leaves a cause standing is
not called again for it then, only for the next one.

    0x000000 + 4 * source                 priority
    0x001000 + 4 * word                   pending bits
    0x002000 + 0x80 * context + 4 * word  enable bits
    0x200000 + 0x1000 * context           threshold; claim and complete at + 4
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from maquina.machine.interrupts import Line
from maquina.machine.state import Fields, State

SIZE = 0x60_0000  # as QEMU's virt machine has it; enough for 1,024 contexts
PENDING, ENABLE, CONTEXT = 0x1000, 0x2000, 0x20_0000
ENABLE_STEP, CONTEXT_STEP = 0x80, 0x1000
MAX_SOURCES, MAX_CONTEXTS = 1024, 1024
MAX_PRIORITY = 7


class Plic:
    """`outputs` is a line for each context, `lines[1]` to `lines[sources - 1]` the inputs."""

    def __init__(
        self, sources: int, outputs: Sequence[Line], event_sources: Sequence[int] = ()
    ) -> None:
        if not 2 <= sources <= MAX_SOURCES or len(outputs) > MAX_CONTEXTS:
            raise ValueError("a PLIC has at most 1,024 sources and contexts")
        self.sources = sources
        self.lines = [Line(partial(self._drive, source)) for source in range(sources)]
        self._outputs = tuple(outputs)
        self._all = (1 << sources) - 2  # source 0 does not exist
        self._priorities = [0] * sources
        self._events = sum(1 << source for source in event_sources)
        self._pending = self._claimed = 0  # one bit for each source
        self._risen = 0  # wires that rose while claimed
        self._enabled = [0] * len(self._outputs)
        self._thresholds = [0] * len(self._outputs)

    def _drive(self, source: int, level: bool) -> None:
        if not level or not source:
            return
        if self._claimed >> source & 1:
            self._risen |= 1 << source & self._events
        else:
            self._pending |= 1 << source
            self._update()

    def _update(self) -> None:
        for context, output in enumerate(self._outputs):
            output.set(self._best(context) != 0)

    def _best(self, context: int) -> int:
        """The source to claim: highest priority above the threshold, then lowest number."""
        best, priority = 0, self._thresholds[context]
        candidates = self._pending & self._enabled[context]
        while candidates:
            source = (candidates & -candidates).bit_length() - 1
            candidates &= candidates - 1
            if self._priorities[source] > priority:
                best, priority = source, self._priorities[source]
        return best

    # -- as registers --------------------------------------------------------------------------

    def read(self, offset: int, size: int) -> int:
        """Registers have 32 bits; no other width reaches them."""
        if size != 4 or offset % 4:
            return 0
        if offset < PENDING:
            source = offset // 4
            return self._priorities[source] if source < self.sources else 0
        if offset < ENABLE:
            return self._pending >> 8 * (offset - PENDING) & 0xFFFF_FFFF
        if offset < CONTEXT:
            context, at = divmod(offset - ENABLE, ENABLE_STEP)
            return self._enabled_word(context, at)
        context, at = divmod(offset - CONTEXT, CONTEXT_STEP)
        return self._read_context(context, at)

    def write(self, offset: int, size: int, value: int) -> None:
        if size != 4 or offset % 4:
            return
        if offset < PENDING:
            if 0 < offset // 4 < self.sources:
                self._priorities[offset // 4] = value & MAX_PRIORITY
        elif ENABLE <= offset < CONTEXT:
            self._enable(*divmod(offset - ENABLE, ENABLE_STEP), value)
        elif offset >= CONTEXT:
            self._write_context(*divmod(offset - CONTEXT, CONTEXT_STEP), value)
        self._update()

    def _enabled_word(self, context: int, at: int) -> int:
        if context >= len(self._outputs):
            return 0
        return self._enabled[context] >> 8 * at & 0xFFFF_FFFF

    def _enable(self, context: int, at: int, value: int) -> None:
        if context < len(self._outputs):
            kept = self._enabled[context] & ~(0xFFFF_FFFF << 8 * at)
            self._enabled[context] = (kept | value << 8 * at) & self._all

    def _read_context(self, context: int, at: int) -> int:
        if context >= len(self._outputs) or at > 4:
            return 0
        if at == 0:
            return self._thresholds[context]
        source = self._best(context)
        self._pending &= ~(1 << source)
        self._claimed |= 1 << source & self._all
        self._risen &= ~(1 << source)
        self._update()
        return source

    def _write_context(self, context: int, at: int, value: int) -> None:
        if context >= len(self._outputs):
            return
        if at == 0:
            self._thresholds[context] = value & MAX_PRIORITY
        elif at == 4 and value < self.sources and self._enabled[context] >> value & 1:
            self._claimed &= ~(1 << value)
            is_new = (self._risen | ~self._events) >> value & 1
            if is_new and self.lines[value].level:
                self._pending |= 1 << value

    # -- saving --------------------------------------------------------------------------------

    def save(self) -> dict[str, State]:
        """Without the levels of the wires: they are restored by the devices that drive them."""
        return {
            "priorities": list(self._priorities),
            "pending": self._pending,
            "claimed": self._claimed,
            "risen": self._risen,
            "enabled": list(self._enabled),
            "thresholds": list(self._thresholds),
        }

    def restore(self, state: dict[str, State]) -> None:
        """Devices that drive the wires may be restored before or after."""
        fields = Fields(state, "the PLIC")
        contexts = len(self._outputs)
        priorities = fields.integers("priorities", self.sources, 0, MAX_PRIORITY)
        pending = fields.integer("pending", 0, self._all)
        claimed = fields.integer("claimed", 0, self._all)
        risen = fields.integer("risen", 0, self._all)
        enabled = fields.integers("enabled", contexts, 0, self._all)
        thresholds = fields.integers("thresholds", contexts, 0, MAX_PRIORITY)
        if any(word & 1 for word in (pending, claimed, risen, *enabled)):
            raise fields.error("a bit", "of source 0 is set")
        self._priorities, self._enabled, self._thresholds = priorities, enabled, thresholds
        self._pending, self._claimed, self._risen = pending, claimed, risen
        for source, line in enumerate(self.lines):
            if not self._events >> source & 1:
                self._drive(source, line.level)
        self._update()
