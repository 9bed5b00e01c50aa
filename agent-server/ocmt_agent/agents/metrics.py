"""The figures of `GET /metrics`: how many agents are where, and how long waking takes."""

from collections.abc import Callable, Iterator

from ocmt_common.agent_api import HibernationCounts, HibernationState, StateEvent
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

_WAKE_BUCKETS_S = (0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160)


class Metrics:
    """One registry a server, so that two in one process (the tests) do not collide."""

    def __init__(self, counts: Callable[[], HibernationCounts]) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_States(counts))
        self._transitions = Counter(
            "ocmt_agent_transitions",
            "Changes of an agent's state.",
            ("from_state", "to_state"),
            registry=self._registry,
        )
        self._wakes = Histogram(
            "ocmt_agent_wake_seconds",
            "From the decision to wake until the gateway answered.",
            ("from_state",),
            buckets=_WAKE_BUCKETS_S,
            registry=self._registry,
        )
        self._failed_wakes = Counter(
            "ocmt_agent_failed_wakes", "Wakes that ended in a failure.", registry=self._registry
        )

    def observe(self, event: StateEvent) -> None:
        self._transitions.labels(str(event.from_state or "none"), str(event.to_state)).inc()

    def woke(self, before: HibernationState, *, seconds: float) -> None:
        self._wakes.labels(str(before)).observe(seconds)

    def wake_failed(self) -> None:
        self._failed_wakes.inc()

    def text(self) -> bytes:
        return generate_latest(self._registry)


class _States(Collector):
    def __init__(self, counts: Callable[[], HibernationCounts]) -> None:
        self._counts = counts

    def collect(self) -> Iterator[GaugeMetricFamily]:
        gauge = GaugeMetricFamily("ocmt_agents", "Agents by hibernation state.", labels=["state"])
        for state, number in self._counts().model_dump().items():
            gauge.add_metric([state], number)
        yield gauge
