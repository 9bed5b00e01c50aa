"""Meters one model request: reserves its cost before, records its tokens and cost after."""

from dataclasses import dataclass
from datetime import date

from msgspec import Raw
from ocmt_common import bounded_json

from ocmt_management.llm import errors
from ocmt_management.llm.budget_ledger import BudgetReached
from ocmt_management.llm.budgets import day_of
from ocmt_management.llm.caller_cache import Caller
from ocmt_management.llm.errors import ModelError
from ocmt_management.llm.prices import Price
from ocmt_management.llm.providers import ProviderId, Shape
from ocmt_management.llm.request_source import source_of
from ocmt_management.llm.service import Llm
from ocmt_management.llm.usage import TokenCounts, UsageKey, UsageSum, estimated_counts

_MOST_WRITTEN = 128_000
_USUALLY_WRITTEN = 16_000
"""Output tokens reserved for a request that sets no limit on its answer."""
_DEAR = Price(provider="openrouter", model="*", since=date.min, input=10, output=50)
_LIMITS_OF_ANSWER = ("max_tokens", "max_completion_tokens", "max_output_tokens")


def usage_key(
    llm: Llm, caller: Caller, model: str, members: dict[str, Raw], shape: Shape
) -> UsageKey:
    """The usage row that counts a request, of the day on which the request begins."""
    return UsageKey(
        user_id=caller.user_id,
        day=day_of(llm.clock(), caller.time_zone),
        provider=caller.chosen.provider.id,
        model=model,
        source=source_of(members.get(shape.conversation, b"")),
        shared=caller.access is not None and caller.access.shared,
    )


@dataclass(slots=True)
class Meter:
    llm: Llm
    key: UsageKey
    reservation: str | None = None
    reserved: int = 0
    """In nano-dollars."""

    async def reserve(self, request: bytes, members: dict[str, Raw], *, provider: str) -> None:
        """Reserve the request's estimated cost.

        Raises `LlmError` if a hard limit is reached or the model's price is not known.
        """
        self.llm.prices.refresh()
        price = self._price(estimated_counts(request))
        if price is None:
            raise self._refused(errors.price_unknown(provider))
        amount = price.cost(estimated_counts(request, written=_most_written(members)))
        try:
            self.reservation = await self.llm.ledger.reserve(self.key, amount)
            self.reserved = amount
        except BudgetReached as reached:
            error = (
                errors.shared_key_used_up(reached.period, provider)
                if reached.of_shared_key
                else errors.budget_reached(reached.period, total=reached.total)
            )
            raise self._refused(error) from reached

    def done(
        self,
        tokens: TokenCounts | None,
        *,
        error: ModelError | None = None,
        estimated: bool = False,
        unreported: bool = False,
    ) -> None:
        """Record the request's usage, and its error for the chat.

        With `unreported`, a request with a reservation costs at least what was reserved.
        """
        llm, key = self.llm, self.key
        if error is None:
            llm.last_errors.forget(key.user_id)
        else:
            llm.last_errors.record(key.user_id, error)
            llm.metrics.failed(key.provider, error.code)
        cost = None
        if tokens is not None:
            llm.prices.refresh()
            cost = llm.prices.table.cost(key.provider, key.model, tokens, key.day)
        if unreported and self.reservation is not None:
            cost = max(cost or 0, self.reserved)
        used = UsageSum.of(tokens, cost=cost, estimated=estimated)
        llm.metrics.used(key, used)
        llm.usage.record(key, used, reservation=self.reservation)

    def _price(self, asked: TokenCounts) -> Price | None:
        table, key = self.llm.prices.table, self.key
        price = table.price(key.provider, key.model, key.day, read=asked.read)
        if price is None and key.provider == ProviderId.OPENROUTER:
            # OpenRouter reports its charge afterwards; until then, assume the original
            # provider's price.
            vendor, _, model = key.model.partition("/")
            price = table.price(vendor, model, key.day, read=asked.read) or _DEAR
        return price

    def _refused(self, error: errors.LlmError) -> errors.LlmError:
        self.llm.last_errors.record(self.key.user_id, ModelError(error.code, error.detail))
        self.llm.metrics.failed(self.key.provider, error.code)
        return error


def _most_written(members: dict[str, Raw]) -> int:
    for name in _LIMITS_OF_ANSWER:
        try:
            value = bounded_json.read(members[name])
        except (KeyError, bounded_json.NotJson):
            continue
        if isinstance(value, int) and value > 0:
            return min(value, _MOST_WRITTEN)
    return _USUALLY_WRITTEN
