"""Where the keys of `VAULT_KEY` come from: the setting itself, or a transit key that opens them.

With a transit key of OpenBao or HashiCorp Vault, the setting has ciphertexts (`k2:vault:v1:…`) of
the keys. They are opened once, when the server starts or reads its keys again, and stay in memory.
So the setting and the database together reveal nothing without that server, which can refuse,
and a server that runs does not depend on it.

The API: openbao.org/api-docs/secret/transit (encrypt, decrypt) and .../auth/token (renew-self).
"""

import asyncio
import base64
import binascii
import secrets
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any
from urllib.parse import quote

import httpx2
import structlog

from ocmt_management.no_cookies import no_cookies
from ocmt_management.settings import ManagementSettings, WrappedKey

log = structlog.get_logger(__name__)

_TIMEOUT_S = 10.0
_MAX_ANSWER_BYTES = 64 * 1024
_WAITS_S = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Between the attempts to reach the transit server at the start."""


class KeyProviderError(Exception):
    """A key cannot be had now. `str()` has the cure, and no secret."""


@dataclass(frozen=True, slots=True)
class _Unreachable(Exception):
    why: str


class Transit:
    """A key of a transit engine. Use it as a context manager."""

    def __init__(
        self, url: str, key: str, token: str, *, transport: httpx2.AsyncBaseTransport | None = None
    ) -> None:
        mount, _, name = key.rpartition("/")
        self._mount, self._name = quote(mount, safe="/"), quote(name, safe="")
        # A proxy on this machine that signs in itself (OpenBao's agent) needs no token.
        headers = {"X-Vault-Token": token} if token else {}
        self._has_token = bool(token)
        self._client = httpx2.AsyncClient(
            base_url=f"{url.rstrip('/')}/v1/",
            headers={**headers, "X-Vault-Request": "true"},
            timeout=_TIMEOUT_S,
            follow_redirects=False,
            cookies=no_cookies(),
            trust_env=False,
            # The system's store, as such servers often have a certificate of a CA of one's own.
            verify=ssl.create_default_context(),
            transport=transport,
        )

    async def __aenter__(self) -> "Transit":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._client.aclose()

    async def decrypt(self, ciphertext: str) -> bytes:
        """Raises `KeyProviderError`."""
        data = await self._post("decrypt", {"ciphertext": ciphertext})
        try:
            return base64.b64decode(str(data.get("plaintext", "")), validate=True)
        except binascii.Error as error:
            raise KeyProviderError("The transit server's answer has no plaintext.") from error

    async def encrypt(self, plain: bytes) -> str:
        """Raises `KeyProviderError`."""
        data = await self._post("encrypt", {"plaintext": base64.b64encode(plain).decode()})
        found = data.get("ciphertext")
        if not isinstance(found, str) or not found.startswith("vault:"):
            raise KeyProviderError("The transit server's answer has no ciphertext.")
        return found

    async def renew(self) -> None:
        """Extend the token's life. A failure is logged: the keys are in memory."""
        if not self._has_token:
            return
        try:
            answer = await self._client.post("auth/token/renew-self", json={})
        except (httpx2.HTTPError, OSError) as error:
            log.warning("transit token not renewed", reason=type(error).__name__)
            return
        if answer.status_code >= 400:
            log.warning("transit token not renewed", status=answer.status_code)

    async def _post(self, action: str, body: dict[str, str]) -> dict[str, Any]:
        path = f"{self._mount}/{action}/{self._name}"
        try:
            async with self._client.stream("POST", path, json=body) as answer:
                text = b""
                async for chunk in answer.aiter_bytes():
                    text += chunk
                    if len(text) > _MAX_ANSWER_BYTES:
                        raise KeyProviderError("The transit server's answer is too large.")
                status = answer.status_code
        except (httpx2.HTTPError, OSError) as error:
            raise _Unreachable(type(error).__name__) from error
        if status in (412, 429) or status >= 500:  # also while it is sealed (503)
            raise _Unreachable(f"HTTP {status}")
        if status == 403:
            raise KeyProviderError(
                f"The transit server does not permit {action} with its key {self._name}: check "
                f"TRANSIT_TOKEN, and that its policy permits update on {path}."
            )
        if status >= 400:
            raise KeyProviderError(
                f"The transit server refused {action} with its key {self._name} (HTTP {status}): "
                "check TRANSIT_KEY, and that VAULT_KEY was encrypted by that key."
            )
        try:
            found = httpx2.Response(200, content=text).json()
        except ValueError:
            found = None
        data = found.get("data") if isinstance(found, dict) else None
        if not isinstance(data, dict):
            raise KeyProviderError("What answers at TRANSIT_URL is no transit server.")
        return data


def transit_of(settings: ManagementSettings) -> Transit:
    """The transit key of the settings. Raises `KeyProviderError` if there is none."""
    if not settings.transit_url:
        raise KeyProviderError("TRANSIT_URL is not set.")
    return Transit(
        settings.transit_url, settings.transit_key, settings.transit_token.get_secret_value()
    )


async def open_keys(
    settings: ManagementSettings,
    *,
    transit: Transit | None = None,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> dict[str, bytes]:
    """The keys of `VAULT_KEY` by id, in its order. Raises `KeyProviderError`.

    A transit server that cannot be reached is tried for 15 s.
    """
    found: dict[str, bytes] = {}
    wrapped = any(isinstance(key, WrappedKey) for key in settings.vault_key_entries.values())
    if not wrapped:
        return settings.vault_keys
    async with transit or transit_of(settings) as opener:
        for key_id, key in settings.vault_key_entries.items():
            if isinstance(key, WrappedKey):
                found[key_id] = _checked(key_id, await _patiently(opener, key, sleep))
            else:
                found[key_id] = key
        await opener.renew()
    return found


async def new_entry(key_id: str, transit: Transit | None) -> str:
    """A new entry for `VAULT_KEY`, encrypted by `transit`. Raises `KeyProviderError`."""
    key = secrets.token_bytes(32)
    if transit is None:
        return f"{key_id}:{base64.b64encode(key).decode()}"
    try:
        return f"{key_id}:{await transit.encrypt(key)}"
    except _Unreachable as error:
        raise _not_reached(error) from error


async def _patiently(
    transit: Transit, key: WrappedKey, sleep: Callable[[float], Awaitable[None]]
) -> bytes:
    for wait_s in (*_WAITS_S, None):
        try:
            return await transit.decrypt(key.ciphertext)
        except _Unreachable as error:
            if wait_s is None:
                raise _not_reached(error) from error
            log.warning("transit server not reached yet", reason=error.why)
            await sleep(wait_s)
    raise AssertionError("unreachable")


def _checked(key_id: str, key: bytes) -> bytes:
    if len(key) != 32:
        raise KeyProviderError(f"The key {key_id} of VAULT_KEY has {len(key)} bytes, not 32.")
    return key


def _not_reached(error: _Unreachable) -> KeyProviderError:
    return KeyProviderError(
        f"The transit server at TRANSIT_URL cannot be used now ({error.why}), so the keys of "
        "VAULT_KEY cannot be opened. Check that it runs and is unsealed."
    )
