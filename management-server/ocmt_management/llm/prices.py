"""Prices of tokens: the shipped table (`prices.toml`) and the operator's own in DATA_DIR.

Costs are whole nano-dollars, so that sums are exact.
"""

import re
import tomllib
from collections import defaultdict
from collections.abc import Iterable
from datetime import date
from fnmatch import fnmatchcase
from pathlib import Path

import structlog
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ocmt_management.llm.providers import ProviderId
from ocmt_management.llm.usage import TokenCounts

log = structlog.get_logger(__name__)

_NANO_PER_TOKEN = 1000
"""Nano-dollars per token at one dollar per million tokens."""
_SHIPPED = Path(__file__).with_name("prices.toml")
OWN_FILE = "prices.toml"
# `gpt-5.5-2026-04-23` and `claude-sonnet-5-20260630` are dated builds of one model.
_DATED = re.compile(r"-\d{4}-?\d{2}-?\d{2}$|-latest$")


class Price(BaseModel):
    """A row of the table, in dollars per million tokens."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    provider: str = Field(min_length=1, max_length=64)
    model: str = Field(min_length=1, max_length=128)
    since: date
    over: int = Field(default=0, ge=0)
    input: float = Field(ge=0, le=100_000)
    output: float = Field(ge=0, le=100_000)
    cached: float | None = Field(default=None, ge=0, le=100_000)
    cache_write: float | None = Field(default=None, ge=0, le=100_000)

    def cost(self, tokens: TokenCounts) -> int:
        """The cost of these tokens, in nano-dollars."""
        plain = tokens.read - tokens.cached - tokens.cache_written
        dollars = (
            plain * self.input
            + tokens.cached * (self.input if self.cached is None else self.cached)
            + tokens.cache_written * (self.input if self.cache_write is None else self.cache_write)
            + tokens.written * self.output
        )
        return max(0, round(dollars * _NANO_PER_TOKEN))


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    price: list[Price] = Field(default_factory=list, max_length=10_000)


class PricesWrong(ValueError):
    """A price file is invalid. `str()` is the reason."""


def read_prices(path: Path) -> list[Price]:
    """The rows of a file. Raises `PricesWrong`."""
    try:
        return _File.model_validate(tomllib.loads(path.read_text(encoding="utf-8"))).price
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise PricesWrong(f"{where}: {first['msg']}") from error
    except (OSError, ValueError) as error:
        raise PricesWrong(str(error)) from error


class PriceTable:
    """Prices by provider and model. A model's rows in `own` replace all its shipped ones."""

    def __init__(self, shipped: Iterable[Price], own: Iterable[Price] = ()) -> None:
        self._rows: dict[tuple[str, str], list[Price]] = defaultdict(list)
        for price in shipped:
            self._rows[price.provider, price.model].append(price)
        replaced: dict[tuple[str, str], list[Price]] = defaultdict(list)
        for price in own:
            replaced[price.provider, price.model].append(price)
        self._rows.update(replaced)
        self._patterns = [key for key in self._rows if "*" in key[1]]

    def price(self, provider: str, model: str, day: date, *, read: int = 0) -> Price | None:
        """The price on `day` for a request of `read` input tokens; `None` if it is not known."""
        known = [one for one in self._of(provider, model) if one.since <= day and one.over <= read]
        return max(known, key=lambda one: (one.since, one.over), default=None)

    def cost(self, provider: str, model: str, tokens: TokenCounts, day: date) -> int | None:
        """The cost in nano-dollars; `None` when the price is not known."""
        if tokens.reported_cost is not None:
            return tokens.reported_cost
        if provider == ProviderId.DEMO:
            return 0
        price = self.price(provider, model, day, read=tokens.read)
        return None if price is None else price.cost(tokens)

    def _of(self, provider: str, model: str) -> list[Price]:
        for name in (model, _DATED.sub("", model)):
            if rows := self._rows.get((provider, name)):
                return rows
        for key in self._patterns:
            if key[0] == provider and fnmatchcase(model, key[1]):
                return self._rows[key]
        return []


class Prices:
    """The table in use. `refresh` reads the operator's file again if it has changed."""

    def __init__(self, data_dir: Path) -> None:
        self._own = data_dir / OWN_FILE
        self._shipped = read_prices(_SHIPPED)
        self._seen: tuple[int, int] | None = None
        self.problem: str | None = None
        self.table = PriceTable(self._shipped)
        self.refresh()

    def refresh(self) -> None:
        """Read the operator's file if it has changed. If it is invalid, only set `problem`."""
        try:
            found = self._own.stat()
            seen: tuple[int, int] | None = (found.st_mtime_ns, found.st_size)
        except OSError:
            seen = None
        if seen == self._seen:
            return
        self._seen = seen
        try:
            own = [] if seen is None else read_prices(self._own)
        except PricesWrong as error:
            self.problem = f"{self._own} is not used: {error}"
            log.error("prices not read", reason=self.problem)
            return
        self.problem = None
        self.table = PriceTable(self._shipped, own)
