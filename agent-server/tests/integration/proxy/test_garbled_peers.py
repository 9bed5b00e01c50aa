"""Truncated or invalid answers of gateways and management servers: a problem, never a crash."""

import asyncio
import json

import aiohttp
import pytest
from ocmt_agent.gateway.access import GatewayAccess
from ocmt_agent.gateway.admin import Busy, GatewayAdmin, GatewayRefused, GatewayUnreachable
from ocmt_agent.gateway.device import DeviceKey
from ocmt_agent.gateway.handshake import HandshakeRefused, connect
from ocmt_agent.gateway.probe import is_live, is_started
from ocmt_agent.proxy.forwarding import open_session
from ocmt_agent.proxy.relay import relay_app
from ocmt_agent.runtime.base import Endpoint, SecretText
from ocmt_common.bounded_json import MOST_VALUES
from ocmt_testing.agent_server.serving import serving
from ocmt_testing.raw_peer import GARBLED, answering
from starlette.types import Receive, Scope, Send

TOKEN = "an-agent-s-token"


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
@pytest.mark.parametrize("said", GARBLED.values(), ids=GARBLED.keys())
async def test_any_answer_that_is_passed_on_is_an_answer_or_breaks_off(
    said: bytes, method: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        answering(said) as url,
        open_session() as session,
        serving(relay_app(url, TOKEN.__eq__, session)) as here,
        aiohttp.ClientSession(auto_decompress=False) as agent,
        asyncio.timeout(30),
    ):
        headers = {"Authorization": f"Bearer {TOKEN}"}
        try:
            async with agent.request(
                method, f"{here.url}/llm/v1/x", headers=headers, allow_redirects=False
            ) as answer:
                status, text = answer.status, await answer.read()
        except aiohttp.ClientError:
            status, text = 0, b""

    assert status != 500 or text == b"ok"
    assert not [record.getMessage() for record in caplog.records if record.exc_info]


@pytest.mark.parametrize("said", GARBLED.values(), ids=GARBLED.keys())
async def test_any_invalid_answer_of_a_gateway_counts_as_unreachable(said: bytes) -> None:
    async with answering(said) as url, open_session() as session, asyncio.timeout(30):
        admin, access = GatewayAdmin(session), access_to(url)
        for asking in (
            admin.health(access),
            admin.next_job_at(access),
            admin.suspend(access, request_id="r"),
            connect(session, access, caller_params={}),
        ):
            with pytest.raises((GatewayUnreachable, GatewayRefused, HandshakeRefused)):
                await asking
        await is_live(session, access.endpoint)
        await is_started(session, access.endpoint)


def access_to(url: str) -> GatewayAccess:
    host, port = url.removeprefix("http://").split(":")
    return GatewayAccess("u", Endpoint(host, int(port)), SecretText("token"), DeviceKey.generate())


def answer_of(body: str) -> bytes:
    return b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n" + body.encode()


MANY = "[" + "{}," * MOST_VALUES + "{}]"
DEEP = "[" * 50_000 + "]" * 50_000


@pytest.mark.parametrize(
    "payload",
    [
        '{"jobs":5}',
        '{"jobs":[5,null,[],{"nextRunAtMs":"x"}]}',
        '{"jobs":[{"nextRunAtMs":1e300}]}',
        '{"jobs":[{"nextRunAtMs":-1e300}]}',
        f'{{"jobs":[{{"nextRunAtMs":{10**400}}}]}}',
        '{"jobs":[{"nextRunAtMs":1e300},{"nextRunAtMs":5,"payload":{"kind":"heartbeat"}}]}',
        '{"enabled":[],"jobs":{}}',
        '{"status":[],"blockers":5,"reason":{},"retryAfterMs":"x"}',
        '{"status":"ready","suspensionId":5,"blockers":[5,{"message":[]},{"count":{}}]}',
        f'{{"status":"busy","retryAfterMs":{10**400}}}',
        f'{{"jobs":{MANY},"blockers":{MANY}}}',
        f'{{"jobs":{DEEP}}}',
        "5",
    ],
    ids=lambda payload: payload[:60],
)
async def test_any_payload_of_a_gateway_is_understood_or_reported(payload: str) -> None:
    said = answer_of(f'{{"ok":true,"payload":{payload}}}')
    async with answering(said) as url, open_session() as session, asyncio.timeout(30):
        admin, access = GatewayAdmin(session), access_to(url)
        try:
            assert await admin.next_job_at(access) is None
            assert isinstance(await admin.suspend(access, request_id="r"), Busy)
        except (GatewayUnreachable, GatewayRefused):
            assert payload in (f'{{"jobs":{MANY},"blockers":{MANY}}}', f'{{"jobs":{DEEP}}}') or (
                str(10**400) in payload
            )


async def test_a_gateway_s_description_of_itself_is_bounded() -> None:
    blockers = json.dumps(["x" * 10_000] * 100)
    said = answer_of(f'{{"ok":true,"payload":{{"status":"busy","blockers":{blockers}}}}}')
    async with answering(said) as url, open_session() as session:
        answer = await GatewayAdmin(session).suspend(access_to(url), request_id="r")

    assert isinstance(answer, Busy)
    assert len("".join(answer.blockers)) <= 10_000


async def test_an_answer_that_comes_in_pieces_is_read_whole() -> None:
    said = answer_of('{"ok":true,"payload":{"a":"' + "x" * 1_000_000 + '"}}')
    async with answering(said) as url, open_session() as session:
        payload = await GatewayAdmin(session).call(access_to(url), "health")

    assert len(payload["a"]) == 1_000_000


CHALLENGE = '{"event":"connect.challenge","payload":{"nonce":"n","ts":1}}'


@pytest.mark.parametrize(
    "frames",
    [
        ["5"],
        ["{"],
        [DEEP],
        [MANY],
        ['{"event":"connect.challenge"}'],
        ['{"event":"connect.challenge","payload":5}'],
        ['{"event":"connect.challenge","payload":{"nonce":[],"ts":{}}}'],
        ['{"event":"connect.challenge","payload":{"nonce":"n","ts":1e400}}'],
        [CHALLENGE, "[]"],
        [CHALLENGE, '{"type":"res","ok":false,"error":"no"}'],
        [CHALLENGE, '{"type":"res","ok":false,"error":{"details":[],"code":{}}}'],
        [CHALLENGE, f'{{"type":"res","ok":true,"payload":{DEEP}}}'],
        [CHALLENGE, f'{{"type":"res","ok":true,"payload":{MANY}}}'],
    ],
    ids=lambda frames: " ".join(frames)[:80],
)
async def test_any_invalid_handshake_counts_as_refused_or_unreachable(frames: list[str]) -> None:
    async def gateway(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})
        for text in frames:
            await send({"type": "websocket.send", "text": text})
        await receive()
        await receive()
        await send({"type": "websocket.close"})

    async with serving(gateway) as there, open_session() as session, asyncio.timeout(30):
        with pytest.raises((GatewayUnreachable, HandshakeRefused)):
            await connect(session, access_to(there.url), caller_params={})


@pytest.mark.parametrize("payload", ["5", "[]", "null", '{"auth":5}', '{"auth":{"role":[]}}'])
async def test_any_hello_gives_its_reader_no_right(payload: str) -> None:
    async def gateway(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": CHALLENGE})
        await receive()
        await receive()
        answer = f'{{"type":"res","ok":true,"payload":{payload}}}'
        await send({"type": "websocket.send", "text": answer})
        await receive()

    async with serving(gateway) as there, open_session() as session, asyncio.timeout(30):
        link = await connect(session, access_to(there.url), caller_params={})
        await link.socket.close()

    assert set(link.hello) == {"auth"}
