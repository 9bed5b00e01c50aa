"""Checks a key with its provider before it is saved, and lists the models that it may use."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

import httpx2
import structlog
from ocmt_common import bounded_json
from ocmt_common.problems import Problem

from ocmt_management.clock import Clock
from ocmt_management.llm import errors, provider_errors
from ocmt_management.llm.models import MODEL_CHARACTERS
from ocmt_management.llm.provider_access import Access
from ocmt_management.llm.provider_errors import Cause
from ocmt_management.llm.providers import Provider, credentials
from ocmt_management.outbound.service import OutboundRefused
from ocmt_management.settings import ManagementSettings

log = structlog.get_logger(__name__)

_TIMEOUT = httpx2.Timeout(8)
_MAX_BYTES = 4 * 1024 * 1024
_MOST_MODELS = 2000
_MOST_ENTRIES = 1000
_CACHED_FOR = timedelta(minutes=10)
MOST_SHOWN = 200


class KeyCheck(StrEnum):
    OK = "ok"
    UNCHECKED = "unchecked"
    """The provider gave no clear answer; the key is stored nevertheless."""


class NoList(Exception):
    """The provider returned no list of models. `str()` is the reason, for the user."""


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    text: str


class Catalogue:
    def __init__(
        self,
        http: httpx2.AsyncClient,
        outbound_http: httpx2.AsyncClient,
        settings: ManagementSettings,
        clock: Clock,
    ) -> None:
        self._http = http
        self._outbound_http = outbound_http
        self._settings = settings
        self._clock = clock
        self._lists: dict[tuple[str, str], tuple[list[str], datetime]] = {}

    async def check(self, provider: Provider, access: Access) -> KeyCheck:
        """Check a key with its provider, or an own server.

        Raises a 422 `Problem` if the provider rejects the key, or the server may not be dialled.
        """
        try:
            answer = await self._get(provider, access, provider.check_path)
        except OutboundRefused as refused:
            raise Problem(422, "address-refused", f"{refused}.") from refused
        except httpx2.HTTPError as error:
            log.info("key not checked", provider=provider.name, kind=type(error).__name__)
            return KeyCheck.UNCHECKED
        if answer.status == 200:
            return KeyCheck.OK
        refusal = provider_errors.from_body(answer.status, answer.text)
        # A key that gets a 403 here may still be valid for requests to models.
        if answer.status not in (400, 401) or refusal.cause is not Cause.KEY:
            return KeyCheck.UNCHECKED
        explained = errors.explain(provider.name, "", refusal, mask=access.mask)
        raise Problem(
            422,
            "key-refused",
            f"{provider.name} rejects this key, so it was not saved. Copy it again. "
            f"{provider.name} says: “{explained.reason}”",
        )

    async def models(self, user_id: str, provider: Provider, access: Access) -> list[str]:
        """The names of the models that a user may use, cached for ten minutes. Raises `NoList`."""
        names, until = self._lists.get((user_id, provider.id), ([], None))
        if until is not None and self._clock() < until:
            return names
        try:
            answer = await self._get(provider, access, provider.models_path)
        except OutboundRefused as refused:
            raise NoList(f"{refused}.") from refused
        except httpx2.HTTPError as error:
            raise NoList(f"{provider.name} cannot be reached from this server.") from error
        if answer.status != 200:
            refusal = provider_errors.from_body(answer.status, answer.text)
            explained = errors.explain(
                provider.name, "", refusal, mask=access.mask, shared=access.shared
            )
            raise NoList(explained.user.detail)
        names = sorted(_names(answer.text))
        if not names:
            raise NoList(f"{provider.name} lists no models.")
        if len(self._lists) >= _MOST_ENTRIES:
            self._lists.clear()
        self._lists[user_id, provider.id] = names, self._clock() + _CACHED_FOR
        return names

    def forget(self, user_id: str) -> None:
        """Drop a user's cached lists, after a change of their keys."""
        for entry in [entry for entry in self._lists if entry[0] == user_id]:
            del self._lists[entry]

    def forget_all(self) -> None:
        """Drop all lists: a shared key changed."""
        self._lists.clear()

    async def _get(self, provider: Provider, access: Access, path: str) -> _Answer:
        headers = {
            "user-agent": "ocmt",
            "accept": "application/json",
            **credentials(provider.native_shape, access.key),
        }
        url = f"{provider.base_url(self._settings, access.server)}/{path}"
        http = self._outbound_http if provider.own else self._http
        async with http.stream("GET", url, headers=headers, timeout=_TIMEOUT) as response:
            raw = b""
            async for chunk in response.aiter_bytes():
                raw += chunk
                if len(raw) > _MAX_BYTES:
                    break
        return _Answer(response.status_code, raw[:_MAX_BYTES].decode(errors="replace"))


def matching(names: Iterable[str], search: str) -> list[str]:
    """The names that contain every word of `search`, ignoring case."""
    words = search.lower().split()
    return [name for name in names if all(word in name.lower() for word in words)]


def _names(text: str) -> set[str]:
    try:
        listed = bounded_json.read(text)
    except bounded_json.NotJson:
        return set()
    models = listed.get("data") if isinstance(listed, dict) else listed
    if not isinstance(models, list):
        return set()
    ids = (model.get("id") for model in models[:_MOST_MODELS] if isinstance(model, dict))
    # Google prefixes its models' names with `models/`.
    names = (one.removeprefix("models/") for one in ids if isinstance(one, str))
    return {one for one in names if 0 < len(one) <= MODEL_CHARACTERS and _plain(one)}


def _plain(name: str) -> bool:
    return all("!" <= letter <= "~" for letter in name)
