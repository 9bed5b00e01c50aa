"""A provider's truncated or invalid answer becomes an error for the agent; nothing crashes."""

import asyncio

import httpx2
import pytest
from ocmt_management.llm.provider_access import Access
from ocmt_management.llm.providers import Shape
from ocmt_management.llm.upstream import Outcome, UpstreamRequest, UpstreamResponse
from ocmt_management.no_cookies import no_cookies
from ocmt_management.vault.secret_value import SecretValue
from ocmt_testing.management.serving import serving
from ocmt_testing.raw_peer import GARBLED, answering
from starlette.types import Receive, Scope, Send


@pytest.mark.parametrize("said", GARBLED.values(), ids=GARBLED.keys())
async def test_any_answer_of_a_provider_is_an_answer_here(
    said: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    outcomes: list[Outcome] = []
    async with (
        answering(said) as provider,
        httpx2.AsyncClient(cookies=no_cookies(), trust_env=False) as http,
    ):
        order = UpstreamRequest(
            shape=Shape.OPENAI,
            provider="OpenAI",
            model="gpt-x",
            url=f"{provider}/chat/completions",
            setting="OPENAI_BASE_URL",
            headers={},
            access=Access(SecretValue("sk-not-in-it")),
            body=b"{}",
        )

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            await UpstreamResponse(http, order, done=outcomes.append)(scope, receive, send)

        async with serving(app) as here, asyncio.timeout(30):
            answer = await http.post(here.url, json={})

    assert answer.status_code in (200, 204, 409, 424, 429, 500, 502, 599)
    assert answer.text or answer.status_code == 200
    assert len(outcomes) == 1
    assert not [record.getMessage() for record in caplog.records if record.exc_info]
    assert "Internal Server Error" not in answer.text
