"""The host's last day: its memory each minute, the wakes, and the wakes that were refused.

Samples and refusals are in memory, so a restart of this server discards them; wakes are in the
database.
"""

import asyncio
from collections import deque
from datetime import timedelta

from ocmt_common.agent_api import HostDay, HostSample

from ocmt_agent.clock import Clock
from ocmt_agent.memory.manager import MemoryManager
from ocmt_agent.records.registry import AgentRegistry

_SAMPLE_EVERY_S = 60.0
_SAMPLES = 24 * 60
_SHOWN_FOR = timedelta(days=1)


class HostHistory:
    def __init__(self, registry: AgentRegistry, memory: MemoryManager, *, clock: Clock) -> None:
        self._registry = registry
        self._memory = memory
        self._clock = clock
        self._samples: deque[HostSample] = deque(maxlen=_SAMPLES)

    async def run(self) -> None:
        """Sample until cancelled."""
        while True:
            self.sample()
            await asyncio.sleep(_SAMPLE_EVERY_S)

    def sample(self) -> None:
        host = self._memory.host()
        self._samples.append(
            HostSample(
                at=self._clock.now(),
                total=host.total,
                available=host.available,
                swap=host.swap_size(),
                swap_free=host.swap_free(),
                agents=self._registry.counts(),
            )
        )

    async def last_day(self) -> HostDay:
        since = self._clock.now() - _SHOWN_FOR
        return HostDay(
            samples=list(self._samples),
            wakes=await self._registry.wakes_since(since),
            refused=[one for one in self._registry.refused_wakes if one.at >= since],
        )
