"""The WebSocket proxy in front of a gateway's double, over real sockets."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import aiohttp
import pytest
from ocmt_agent.decisions.activity import ActivityKind
from ocmt_agent.gateway.admin import GatewayAdmin
from ocmt_agent.proxy.forwarding import open_session
from ocmt_agent.proxy.routes import proxy_routes
from ocmt_agent.runtime.base import Endpoint
from ocmt_common.problems import Problem
from ocmt_testing.agent_server.awake import GATEWAY_TOKEN, Sleepy
from ocmt_testing.agent_server.caller import LIMIT_S, Caller
from ocmt_testing.agent_server.gateway_double import REPLY, GatewayDouble, gateway_double
from ocmt_testing.agent_server.serving import MAX_FRAME_BYTES, serving
from starlette.applications import Starlette


class Rig:
    def __init__(
        self, double: GatewayDouble, endpoint: Endpoint, url: str, session: aiohttp.ClientSession
    ) -> None:
        self.double = double
        self.endpoint = endpoint
        self.waking = Sleepy(endpoint)
        self.url = url
        self.session = session

    @asynccontextmanager
    async def caller(
        self, *, introduced: bool = True, autoping: bool = True
    ) -> AsyncIterator[Caller]:
        async with self.session.ws_connect(self.url, autoping=autoping) as socket:
            caller = Caller(socket)
            if introduced:
                assert (await caller.introduce())["ok"]
            yield caller

    async def settled(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(LIMIT_S):
            while not condition():  # noqa: ASYNC110 (it looks into the other side)
                await asyncio.sleep(0.01)


@asynccontextmanager
async def open_rig(*, ping_interval_s: float | None = None) -> AsyncIterator[Rig]:
    async with AsyncExitStack() as stack:
        double, endpoint = await stack.enter_async_context(gateway_double(token=GATEWAY_TOKEN))
        session = await stack.enter_async_context(aiohttp.ClientSession())
        passing_on = await stack.enter_async_context(open_session())
        rig = Rig(double, endpoint, "", session)
        admin = GatewayAdmin(passing_on)
        routes = proxy_routes(rig.waking, passing_on, admin, max_body_bytes=1000)
        proxy = await stack.enter_async_context(
            serving(Starlette(routes=routes), ping_interval_s=ping_interval_s)
        )
        rig.url = f"{proxy.url}/api/containers/ada/proxy/"
        yield rig


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    async with open_rig() as opened:
        yield opened


async def test_a_caller_without_credentials_gets_ours_rights_and_chats(rig: Rig) -> None:
    async with rig.caller(introduced=False) as caller:
        hello = await caller.introduce()
        text = await caller.say("hi", "run-1")

    assert hello["payload"]["auth"]["scopes"] == [
        "operator.read",
        "operator.write",
        "operator.approvals",
    ]
    assert text == "".join(REPLY)


async def test_the_end_of_a_long_answer_is_the_user_s_activity_and_a_job_s_is_not(
    rig: Rig,
) -> None:
    async with rig.caller() as tab, rig.caller() as other:
        rig.double.hold.clear()
        await tab.send("chat.send", "1", sessionKey="main", message="hi", idempotencyKey="run-1")
        await tab.until(event="chat")
        frames_sent = rig.waking.wakes[ActivityKind.WEBSOCKET]
        rig.double.send("a-job", "due")  # of the agent's own
        rig.double.hold.set()
        for caller in (tab, other):
            ended = set[str]()
            while ended != {"run-1", "a-job"}:
                payload = (await caller.until(event="chat"))["payload"]
                if payload["state"] == "final":
                    ended.add(payload["runId"])
        assert rig.waking.runs_ended == {ActivityKind.WEBSOCKET: 1}
        assert rig.waking.wakes[ActivityKind.WEBSOCKET] == frames_sent


async def test_a_turn_that_is_stopped_ends_and_one_whose_gateway_dies_does_not_linger(
    rig: Rig,
) -> None:
    async with rig.caller() as caller:
        rig.double.hold.clear()
        await caller.send("chat.send", "1", sessionKey="main", message="hi", idempotencyKey="r1")
        await caller.until(event="chat")
        await caller.ask("chat.abort", "2", sessionKey="main")
        await rig.settled(lambda: rig.waking.runs_ended[ActivityKind.WEBSOCKET] == 1)
        await caller.send("chat.send", "3", sessionKey="main", message="hi", idempotencyKey="r2")
        await caller.until(type="res", id="3")
        rig.double.drop()
        await caller.until(event="shutdown")
        rig.double.hold.set()
        assert "Hello" in await caller.say("again", "r3")
        await rig.settled(lambda: rig.waking.runs_ended[ActivityKind.WEBSOCKET] == 2)


async def test_no_credential_of_ours_or_the_gateway_s_reaches_the_caller_or_the_log(
    rig: Rig, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    async with rig.caller() as caller:
        await caller.ask("chat.history", "1", sessionKey="main")
        rig.double.drop()
        await caller.until(event="shutdown")
        rig.double.token = "changed-behind-our-back"
        assert not (await caller.ask("chat.history", "2", sessionKey="main"))["ok"]

    written = caller.seen + caplog.text + "".join(capsys.readouterr())
    assert "hello-ok" in written
    device = rig.waking.access.device
    signed = device.sign("x")
    for secret in (GATEWAY_TOKEN, *rig.double.credentials.values(), "/cap/", signed):
        assert secret not in written
    assert '"signature"' not in written


async def test_pairing_happens_once_however_many_connect_at_once(rig: Rig) -> None:
    async with AsyncExitStack() as stack:
        await asyncio.gather(*[stack.enter_async_context(rig.caller()) for _ in range(20)])

    assert rig.double.approvals == 1
    assert not rig.double.pending


async def test_another_device_s_wish_to_pair_is_not_granted(rig: Rig) -> None:
    rig.double.pending["x"] = {"requestId": "x", "deviceId": "stranger", "scopes": []}
    async with rig.caller():
        pass

    assert "stranger" not in rig.double.paired
    assert "x" in rig.double.pending


async def test_a_gateway_still_starting_is_waited_for(rig: Rig) -> None:
    rig.double.refuse_connects = 3
    async with rig.caller() as caller:
        assert (await caller.ask("chat.history", "1", sessionKey="main"))["ok"]


async def test_data_frames_of_the_caller_are_activity_and_nothing_else_is(rig: Rig) -> None:
    async with rig.caller() as caller:
        before = rig.waking.wakes[ActivityKind.WEBSOCKET]
        await caller.socket.ping()
        await rig.double.broadcast("tick", {})
        await caller.until(event="tick")
        assert rig.waking.wakes[ActivityKind.WEBSOCKET] == before

        await caller.ask("chat.history", "1", sessionKey="main")
        assert rig.waking.wakes[ActivityKind.WEBSOCKET] == before + 1


async def test_opening_a_socket_wakes_the_agent_before_any_frame(rig: Rig) -> None:
    async with rig.caller(introduced=False):
        assert rig.waking.wakes[ActivityKind.WEBSOCKET] == 1


async def test_a_silent_socket_survives_a_stop_and_its_next_frame_wakes_the_agent(
    rig: Rig,
) -> None:
    async with AsyncExitStack() as stack, rig.caller(autoping=False) as caller:
        await rig.double.stop()
        assert (await caller.until(event="shutdown"))["payload"]["reason"] == "gateway stopping"
        await rig.settled(lambda: rig.waking.doubts > 0)
        asked = asyncio.Event()

        async def start() -> Endpoint:
            asked.set()
            fresh, endpoint = await stack.enter_async_context(gateway_double(token=GATEWAY_TOKEN))
            fresh.paired = rig.double.paired
            rig.double = fresh
            return endpoint

        rig.waking.bring_up = start
        await caller.socket.ping()
        assert (await caller.socket.receive(LIMIT_S)).type is aiohttp.WSMsgType.PONG
        assert not asked.is_set()

        answer = await caller.ask("chat.history", "1", sessionKey="main")

        assert answer["ok"]
        assert rig.double.calls == ["chat.history"]
        assert rig.double.handshakes == 1
        assert caller.seen.count("hello-ok") == 1
        assert caller.seen.count('"shutdown"') == 2  # the event's name, and in the hello's list


async def test_frames_that_wait_for_a_long_wake_keep_their_socket() -> None:
    """Pongs wait behind them, so a late pong must not end the connection."""
    async with open_rig(ping_interval_s=0.05) as rig, rig.caller() as caller:

        async def start() -> Endpoint:
            await asyncio.sleep(0.5)  # many pings long
            return rig.endpoint

        rig.waking.bring_up = start
        for request in ("1", "2", "3"):
            await caller.send("chat.history", request, sessionKey="main")

        for request in ("1", "2", "3"):
            assert (await caller.until(type="res"))["id"] == request


async def test_requests_in_progress_when_the_gateway_ends_are_answered(rig: Rig) -> None:
    async with rig.caller() as caller:
        await caller.ask("chat.history", "done", sessionKey="main")
        await caller.send("never.answered", "lost-1")
        await rig.settled(lambda: "never.answered" in rig.double.calls)
        rig.double.drop()

        lost = await caller.until(type="res")
        told = await caller.until(type="event", event="shutdown")

    assert lost["id"] == "lost-1"
    assert lost["ok"] is False
    assert lost["error"]["code"] == "UNAVAILABLE"
    assert lost["error"]["retryable"] is True
    assert told["payload"] == {"reason": "gateway lost"}
    assert rig.waking.doubts == 1


async def test_a_frame_after_a_crash_is_delivered_over_a_new_socket(rig: Rig) -> None:
    async with rig.caller() as caller:
        rig.double.drop()
        await caller.until(event="shutdown")

        assert (await caller.ask("chat.history", "1", sessionKey="main"))["ok"]
        assert rig.double.handshakes == 2


async def test_a_wake_that_fails_refuses_the_request_and_keeps_the_socket(rig: Rig) -> None:
    async with rig.caller() as caller:
        rig.waking.problem = Problem(503, "runtime-unavailable", "Docker is gone.", retry_after_s=5)
        refused = await caller.ask("chat.history", "1", sessionKey="main")
        rig.waking.problem = None

        assert refused["error"] == {
            "code": "UNAVAILABLE",
            "message": "Docker is gone.",
            "retryable": True,
            "retryAfterMs": 5000,
        }
        assert (await caller.ask("chat.history", "2", sessionKey="main"))["ok"]


async def test_a_gateway_that_refuses_us_refuses_the_caller_s_connect(rig: Rig) -> None:
    rig.double.token = "another"
    async with rig.caller(introduced=False) as caller:
        answer = await caller.introduce()
        assert answer["error"]["code"] == "UNAVAILABLE"
        assert await caller.end() == (1013, "gateway-lost")


async def test_an_unknown_user_is_refused_before_the_socket_opens(rig: Rig) -> None:
    url = rig.url.replace("/ada/", "/bob/")
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await rig.session.ws_connect(url)

    assert refused.value.status == 404


@pytest.mark.parametrize("path", ["v1/x", "api/v1/admin/rpc", "healthz"])
async def test_only_the_gateway_s_protocol_is_a_socket(rig: Rig, path: str) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await rig.session.ws_connect(rig.url + path)

    assert refused.value.status == 404


@pytest.mark.parametrize(
    "first",
    ["no json", "[]", '{"type":"req","id":"1","method":"chat.send"}', "[" * 30_000],
    ids=["no json", "no object", "another method", "deeply nested"],
)
async def test_a_caller_that_does_not_connect_first_is_refused(rig: Rig, first: str) -> None:
    async with rig.caller(introduced=False) as caller:
        await caller.next()
        await caller.socket.send_str(first)
        assert await caller.end() == (1008, "send connect first")


async def test_frames_that_are_no_requests_pass_unchanged(rig: Rig) -> None:
    """The gateway judges them; the proxy neither answers nor fails."""
    async with rig.caller() as caller:
        await caller.socket.send_str("[" * 30_000)
        async with asyncio.timeout(LIMIT_S):
            await rig.settled(lambda: len(rig.double.sockets) == 0)


@pytest.mark.parametrize("size", [MAX_FRAME_BYTES + 1, 16 * 1024 * 1024])
async def test_a_frame_too_large_closes_the_caller_with_1009(rig: Rig, size: int) -> None:
    async with rig.caller() as caller:
        await caller.socket.send_str("x" * size)
        assert (await caller.end())[0] == 1009


async def test_a_frame_too_large_from_the_gateway_closes_with_1009(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ocmt_agent.gateway.handshake.MAX_FRAME_BYTES", 100_000)
    async with rig.caller() as caller:
        await rig.double.broadcast("chat", {"text": "x" * 100_000})
        assert (await caller.end())[0] == 1009


async def test_the_gateway_s_close_code_and_reason_reach_the_caller(rig: Rig) -> None:
    async with rig.caller() as caller:
        await rig.double.close_sockets(1008, "slow consumer")
        assert await caller.end() == (1008, "slow consumer")


async def test_the_caller_s_close_code_reaches_the_gateway(rig: Rig) -> None:
    async with rig.caller() as caller:
        await caller.socket.close(code=4001, message=b"tab closed")
        await rig.settled(lambda: bool(rig.double.closed_with))

    assert rig.double.closed_with == [4001]


async def test_a_caller_that_vanishes_leaves_no_gateway_socket_behind(rig: Rig) -> None:
    async with rig.caller() as caller:
        await rig.settled(lambda: len(rig.double.sockets) == 1)
        connection = caller.socket._response.connection
        assert connection is not None
        assert connection.transport is not None
        connection.transport.abort()
        await rig.settled(lambda: not rig.double.sockets)


async def test_a_caller_that_reads_slowly_slows_the_gateway_down(rig: Rig) -> None:
    """Nothing is buffered in between: the gateway's own writes stop."""
    sent = 0

    async def flood() -> None:
        nonlocal sent
        while True:
            await rig.double.broadcast("chat", {"text": "x" * 100_000})
            sent += 1

    async with rig.caller() as caller:
        flooding = asyncio.create_task(flood())
        await rig.settled(lambda: sent > 0)
        before, unchanged = sent, 0
        while unchanged < 4:  # until it makes no progress any more
            await asyncio.sleep(0.3)
            unchanged = unchanged + 1 if before == sent else 0
            before = sent
        for _ in range(before):
            await caller.socket.receive()
        await rig.settled(lambda: sent > before)
        flooding.cancel()
        await asyncio.gather(flooding, return_exceptions=True)

    assert before < 400  # 40 MB: kernel buffers on the way, and no more
