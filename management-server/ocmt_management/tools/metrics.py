"""Metrics of tools for `GET /metrics`: calls by outcome, their duration, and paused servers."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 100)


class ToolMetrics:
    """One Prometheus registry per server: tests run several servers in one process."""

    def __init__(self, *, paused: Callable[[], int], under_way: Callable[[], int]) -> None:
        self._registry = CollectorRegistry()
        self._calls = Counter(
            "ocmt_tool_calls", "Calls of tools, by outcome.", ("outcome",), registry=self._registry
        )
        self._seconds = Histogram(
            "ocmt_tool_call_seconds",
            "Calls of tools: from the request to the server's answer.",
            buckets=_BUCKETS_S,
            registry=self._registry,
        )
        self._troubles = Counter(
            "ocmt_tool_troubles",
            "Calls that their server did not serve, by kind of trouble.",
            ("kind",),
            registry=self._registry,
        )
        Gauge(
            "ocmt_tool_servers_paused",
            "Connections to tool servers that are paused after repeated trouble.",
            registry=self._registry,
        ).set_function(paused)
        Gauge(
            "ocmt_tool_requests_under_way",
            "Requests of agents to /mcp that are being served.",
            registry=self._registry,
        ).set_function(under_way)

    def called(self, outcome: str, seconds: float) -> None:
        self._calls.labels(outcome).inc()
        self._seconds.observe(seconds)

    def troubled(self, kind: str) -> None:
        self._troubles.labels(kind).inc()

    def text(self) -> bytes:
        return generate_latest(self._registry)
