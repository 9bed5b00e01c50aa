"""The metrics of `GET /metrics`."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial

from ocmt_common.agent_api import (
    HibernationCounts,
    HibernationState,
    PausedMemory,
    StateEvent,
    ToolServerState,
)
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from ocmt_agent.decisions.memory_admission import HostFigures

_WAKE_BUCKETS_S = (0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160)
_LATE_BUCKETS_S = (0, 1, 5, 15, 60, 300, 3600)


class Metrics:
    """One Prometheus registry per server: tests run several servers in one process."""

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
            "Seconds from the decision to wake until the gateway answered.",
            ("from_state",),
            buckets=_WAKE_BUCKETS_S,
            registry=self._registry,
        )
        self._failed_wakes = Counter(
            "ocmt_agent_failed_wakes", "Wakes that ended in a failure.", registry=self._registry
        )
        self._job_wakes = Histogram(
            "ocmt_agent_job_lateness_seconds",
            "Wakes for scheduled jobs: seconds from the job's time until the gateway answered.",
            buckets=_LATE_BUCKETS_S,
            registry=self._registry,
        )
        self._evictions = Counter(
            "ocmt_agent_evictions",
            "Agents paused or stopped so that another agent's wake fits in memory.",
            ("mode",),
            registry=self._registry,
        )
        self._refusals = Counter(
            "ocmt_agent_refused_wakes",
            "Wakes refused for lack of memory or of a turn in the queue.",
            ("why",),
            registry=self._registry,
        )
        self._queued = Gauge(
            "ocmt_agent_queued_wakes", "Wakes that wait for their turn.", registry=self._registry
        )

        self._claims = Counter(
            "ocmt_agent_claims",
            "New users, by whether an agent made beforehand was there and worked.",
            ("outcome",),
            registry=self._registry,
        )
        self._spare_starts = Counter(
            "ocmt_agent_spare_starts",
            "Stopped agents that were woken, by whether a held spare was there and worked.",
            ("outcome",),
            registry=self._registry,
        )
        self._spares = Gauge(
            "ocmt_spare_agents",
            "Agents made beforehand that are ready for new users.",
            registry=self._registry,
        )
        self._held_spares = Gauge(
            "ocmt_held_spares",
            "Spares that are ready for stopped agents.",
            registry=self._registry,
        )
        self._sleepers = Gauge(
            "ocmt_sleeping_agents",
            "Paused agents by where their memory is.",
            ("memory",),
            registry=self._registry,
        )

    def observe(self, event: StateEvent) -> None:
        self._transitions.labels(str(event.from_state or "none"), str(event.to_state)).inc()

    def woke_for_job(self, *, late_s: float) -> None:
        self._job_wakes.observe(late_s)

    def evicted(self, mode: str) -> None:
        self._evictions.labels(mode).inc()

    def refused(self, why: str) -> None:
        self._refusals.labels(why).inc()

    def woke(self, before: HibernationState, *, seconds: float) -> None:
        self._wakes.labels(str(before)).observe(seconds)

    def follow_queue(self, length: Callable[[], float]) -> None:
        self._queued.set_function(length)

    def provisioned(self, outcome: str) -> None:
        """Count a new user: `claimed` a spare, `failed` to use one, or `none` was ready."""
        self._claims.labels(outcome).inc()

    def started_stopped(self, outcome: str) -> None:
        """A stopped agent was woken: with a spare (`claimed`, `failed`), or without (`none`)."""
        self._spare_starts.labels(outcome).inc()

    def follow_spares(self, count: Callable[[], float], held: Callable[[], float]) -> None:
        self._spares.set_function(count)
        self._held_spares.set_function(held)

    def follow_sleepers(self, count: Callable[[PausedMemory | None], int]) -> None:
        for memory in (*PausedMemory, None):
            self._sleepers.labels(memory or "unmeasured").set_function(partial(count, memory))

    def follow_host(self, read: Callable[[], HostFigures | None]) -> None:
        self._registry.register(_HostMemory(read))

    def follow_tool_servers(self, counts: Callable[[], Mapping[ToolServerState, int]]) -> None:
        self._registry.register(_ToolServers(counts))

    def wake_failed(self) -> None:
        self._failed_wakes.inc()

    def text(self) -> bytes:
        return generate_latest(self._registry)


class _HostMemory(Collector):
    def __init__(self, read: Callable[[], HostFigures | None]) -> None:
        self._read = read

    def collect(self) -> Iterator[GaugeMetricFamily]:
        host = self._read()
        if host is None:
            return
        memory = GaugeMetricFamily(
            "ocmt_host_memory_bytes", "The host's memory and swap.", labels=["kind"]
        )
        for kind in ("total", "available", "swap_total", "swap_free"):
            memory.add_metric([kind], getattr(host, kind))
        yield memory
        if host.stalled is not None:
            yield GaugeMetricFamily(
                "ocmt_host_memory_stalled_percent",
                "Percentage of the last 10 s in which all work waited for memory.",
                value=host.stalled,
            )


class _ToolServers(Collector):
    def __init__(self, counts: Callable[[], Mapping[ToolServerState, int]]) -> None:
        self._counts = counts

    def collect(self) -> Iterator[GaugeMetricFamily]:
        gauge = GaugeMetricFamily(
            "ocmt_agent_tool_servers", "Users' tool servers over stdio, by state.", labels=["state"]
        )
        counts = self._counts()
        for state in ToolServerState:
            gauge.add_metric([state], counts.get(state, 0))
        yield gauge


class _States(Collector):
    def __init__(self, counts: Callable[[], HibernationCounts]) -> None:
        self._counts = counts

    def collect(self) -> Iterator[GaugeMetricFamily]:
        gauge = GaugeMetricFamily("ocmt_agents", "Agents by hibernation state.", labels=["state"])
        for state, number in self._counts().model_dump().items():
            gauge.add_metric([state], number)
        yield gauge
