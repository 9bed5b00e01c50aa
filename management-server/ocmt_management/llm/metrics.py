"""Metrics for `GET /metrics`: requests, tokens, cost and errors of models since the start."""

from prometheus_client import CollectorRegistry, Counter, generate_latest

from ocmt_management.llm.budgets import NANO
from ocmt_management.llm.usage import UsageKey, UsageSum

_KINDS = ("tokens_in", "tokens_out", "cached", "cache_written", "reasoning")


class ModelMetrics:
    """One Prometheus registry per server. No label holds a user or a name chosen by an agent."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        labels = ("provider", "source")
        self._requests = self._counter("requests", "Requests to models.", labels)
        self._estimated = self._counter(
            "estimated_requests", "Requests whose tokens are estimated.", labels
        )
        self._unpriced = self._counter(
            "unpriced_requests", "Requests to models without a known price.", labels
        )
        self._cost = self._counter("cost_usd", "Cost in US dollars, as far as known.", labels)
        self._tokens = self._counter(
            "tokens",
            "Tokens; cached, cache_written and reasoning are parts of the first two.",
            (*labels, "kind"),
        )
        self._errors = self._counter("errors", "Failed requests.", ("provider", "code"))

    def used(self, key: UsageKey, used: UsageSum) -> None:
        of = (key.provider, key.source.value)
        self._requests.labels(*of).inc(used.requests)
        self._estimated.labels(*of).inc(used.estimated)
        self._unpriced.labels(*of).inc(used.unpriced)
        self._cost.labels(*of).inc(used.cost / NANO)
        for kind in _KINDS:
            self._tokens.labels(*of, kind).inc(getattr(used, kind))

    def failed(self, provider: str, code: str) -> None:
        self._errors.labels(provider, code).inc()

    def text(self) -> bytes:
        return generate_latest(self._registry)

    def _counter(self, name: str, what: str, labels: tuple[str, ...]) -> Counter:
        return Counter(f"ocmt_model_{name}", what, labels, registry=self._registry)
