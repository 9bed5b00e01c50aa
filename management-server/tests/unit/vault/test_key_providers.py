"""Keys that a transit server opens, against a double of the API that OpenBao documents.

No OpenBao or Vault can be installed here, so the double answers as their documentation says.
"""

import base64
import json
import re
import secrets
from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from ocmt_common.settings import SettingsError
from ocmt_management.settings import ManagementSettings
from ocmt_management.vault.key_providers import (
    KeyProviderError,
    Transit,
    new_entry,
    open_keys,
)
from ocmt_management.vault.keys import KeyRing

TOKEN = "hvs.token-0123456789"
URL = "https://bao.example:8200"
Make = Callable[..., ManagementSettings]


class TransitServer:
    """The key `ocmt` of the engine at `transit`. `statuses` are answered first, one a request."""

    def __init__(self) -> None:
        self.sealed: dict[str, str] = {}
        self.statuses: list[int] = []
        self.asked: list[str] = []
        self.unreachable = 0

    def transport(self) -> httpx2.MockTransport:
        return httpx2.MockTransport(self._answer)

    def client(self, *, key: str = "transit/ocmt", token: str = TOKEN) -> Transit:
        return Transit(URL, key, token, transport=self.transport())

    def _answer(self, request: httpx2.Request) -> httpx2.Response:
        path = request.url.path.removeprefix("/v1/")
        self.asked.append(path)
        if self.unreachable:
            self.unreachable -= 1
            raise httpx2.ConnectError("refused")
        if self.statuses:
            return httpx2.Response(self.statuses.pop(0), json={"errors": []})
        if request.headers.get("x-vault-token") != TOKEN:
            return httpx2.Response(403, json={"errors": ["permission denied"]})
        body = json.loads(request.content or b"{}")
        if path == "auth/token/renew-self":
            return httpx2.Response(200, json={"auth": {"lease_duration": 3600}})
        engine, _, name = path.rpartition("/")
        if (engine, name) == ("transit/encrypt", "ocmt"):
            ciphertext = f"vault:v1:{base64.b64encode(secrets.token_bytes(60)).decode()}"
            self.sealed[ciphertext] = body["plaintext"]
            return httpx2.Response(200, json={"data": {"ciphertext": ciphertext}})
        if path == "transit/decrypt/ocmt" and body["ciphertext"] in self.sealed:
            return httpx2.Response(
                200, json={"data": {"plaintext": self.sealed[body["ciphertext"]]}}
            )
        return httpx2.Response(400, json={"errors": ["invalid ciphertext"]})


@pytest.fixture
def server() -> TransitServer:
    return TransitServer()


@pytest.fixture
def made(make_settings: Make) -> Make:
    return lambda **more: make_settings(transit_url=URL, transit_token=TOKEN, **more)


async def no_sleep(_: float) -> None:
    pass


async def entry(server: TransitServer, key_id: str = "k2") -> str:
    async with server.client() as transit:
        return await new_entry(key_id, transit)


async def test_a_key_is_stored_as_ciphertext_and_opened_at_the_start(
    server: TransitServer, made: Make
) -> None:
    plain = base64.b64encode(secrets.token_bytes(32)).decode()
    wrapped = await entry(server)
    assert re.fullmatch(r"k2:vault:v1:[A-Za-z0-9+/=]+", wrapped)
    (stored,) = server.sealed.values()
    assert stored not in wrapped

    settings = made(vault_key=f"{wrapped},k1:{plain}")
    keys = await open_keys(settings, transit=server.client(), sleep=no_sleep)

    assert list(keys) == ["k2", "k1"], "the order counts: the first encrypts"
    assert keys == {"k2": base64.b64decode(stored), "k1": base64.b64decode(plain)}
    assert server.asked[-1] == "auth/token/renew-self"
    key, sealed = KeyRing(keys).new_data_key("ada")
    assert KeyRing(keys).unwrap(sealed, key_id="k2", user_id="ada") is not key
    assert stored not in repr(settings)
    assert TOKEN not in repr(settings)


async def test_without_such_keys_no_server_is_asked(server: TransitServer, made: Make) -> None:
    settings = made(vault_key=f"k1:{base64.b64encode(secrets.token_bytes(32)).decode()}")
    assert list(await open_keys(settings, transit=server.client())) == ["k1"]
    assert server.asked == []


async def test_a_server_that_is_away_or_sealed_is_tried_again(
    server: TransitServer, made: Make
) -> None:
    settings = made(vault_key=await entry(server))
    server.unreachable, server.statuses = 2, [503, 429]
    assert list(await open_keys(settings, transit=server.client(), sleep=no_sleep)) == ["k2"]
    assert server.asked.count("transit/decrypt/ocmt") == 5

    server.unreachable = 100
    with pytest.raises(KeyProviderError, match="runs and is unsealed"):
        await open_keys(settings, transit=server.client(), sleep=no_sleep)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"token": "other"}, "check TRANSIT_TOKEN"),
        ({"key": "transit/other"}, "check TRANSIT_KEY"),
        ({"key": "other/ocmt"}, "check TRANSIT_KEY"),
    ],
)
async def test_a_refusal_names_the_cure_and_no_secret(
    server: TransitServer, made: Make, more: dict[str, Any], says: str
) -> None:
    settings = made(vault_key=await entry(server))
    with pytest.raises(KeyProviderError, match=says) as caught:
        await open_keys(settings, transit=server.client(**more), sleep=no_sleep)
    assert TOKEN not in str(caught.value)
    assert len(server.asked) == 2, "it is not tried again"


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (httpx2.Response(200, content=b"<html>"), "no transit server"),
        (httpx2.Response(200, json={"data": []}), "no transit server"),
        (httpx2.Response(200, json={"data": {"plaintext": "%"}}), "no plaintext"),
        (httpx2.Response(200, json={"data": {"plaintext": "c2hvcnQ="}}), "5 bytes, not 32"),
        (httpx2.Response(200, content=b"x" * 100_000), "too large"),
        (httpx2.Response(302, headers={"location": "https://evil.example"}), "no transit server"),
    ],
)
async def test_a_wrong_answer_opens_nothing(
    server: TransitServer, made: Make, answer: httpx2.Response, says: str
) -> None:
    settings = made(vault_key=await entry(server))
    wrong = Transit(URL, "transit/ocmt", TOKEN, transport=httpx2.MockTransport(lambda _: answer))
    with pytest.raises(KeyProviderError, match=says):
        await open_keys(settings, transit=wrong, sleep=no_sleep)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"vault_key": "k1:vault:v1:AAAAAAAAAAAAAAAAAAAAAAAA"}, "TRANSIT_URL"),
        ({"vault_key": "k1:vault:v1:short"}, "no ciphertext"),
        ({"vault_key": "k1:vault:x:AAAAAAAAAAAAAAAAAAAAAAAA"}, "no ciphertext"),
        ({"transit_url": "http://bao.example:8200"}, "https://"),
        ({"transit_url": f"{URL}/v1"}, "origin"),
        ({"transit_key": "ocmt"}, "TRANSIT_KEY"),
        ({"transit_key": "transit/../ocmt?"}, "TRANSIT_KEY"),
    ],
)
def test_wrong_settings_are_named(make_settings: Make, changes: dict[str, str], says: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(says)):
        make_settings(**changes)
