"""What the agent server relies on in a gateway: the same tests for the real OpenClaw and its
double."""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from ocmt_agent.gateway.access import GatewayAccess
from ocmt_agent.gateway.admin import Busy, GatewayAdmin, GatewayRefused, Suspended
from ocmt_agent.gateway.control import OpenClawControl
from ocmt_agent.gateway.device import DeviceKey
from ocmt_agent.gateway.handshake import (
    SCOPES,
    HandshakeRefused,
    connect,
    connect_params,
    hello_for_callers,
)
from ocmt_agent.gateway.pairing import GatewayLinks
from ocmt_agent.gateway.probe import is_live, is_started
from ocmt_agent.proxy.forwarding import open_session
from ocmt_agent.proxy.routes import proxy_routes
from ocmt_agent.runtime.base import Endpoint, SecretText
from ocmt_testing.agent_server.awake import AlwaysAwake
from ocmt_testing.agent_server.caller import Caller
from ocmt_testing.agent_server.gateway_double import REPLY, gateway_double
from ocmt_testing.agent_server.lan_gateway import lan_gateway
from ocmt_testing.agent_server.serving import serving
from starlette.applications import Starlette

pytestmark = pytest.mark.asyncio(loop_scope="module")

TOKEN = "gateway-token-of-the-contract"
LIMIT_S = 60


@dataclass
class Gateway:
    endpoint: Endpoint
    session: aiohttp.ClientSession
    stop: Callable[[], Coroutine[Any, Any, None]]

    @property
    def admin(self) -> GatewayAdmin:
        return GatewayAdmin(self.session)

    @property
    def links(self) -> GatewayLinks:
        return GatewayLinks(self.session, self.admin)

    def access(self, *, token: str = TOKEN) -> GatewayAccess:
        """Access with a device that the gateway does not know."""
        return GatewayAccess("ada", self.endpoint, SecretText(token), DeviceKey.generate())

    @asynccontextmanager
    async def caller(self) -> AsyncIterator[Caller]:
        """A client behind the proxy, which holds the credentials."""
        waking = AlwaysAwake(self.endpoint)
        waking.access = self.access()
        async with open_session() as passing_on:
            routes = proxy_routes(
                waking, passing_on, GatewayAdmin(passing_on), max_body_bytes=1_000_000
            )
            async with (
                serving(Starlette(routes=routes)) as proxy,
                self.session.ws_connect(f"{proxy.url}/api/containers/ada/proxy/") as socket,
            ):
                caller = Caller(socket, limit_s=LIMIT_S)
                assert (await caller.introduce())["ok"]
                yield caller


@asynccontextmanager
async def opened(kind: str, folder: Path) -> AsyncIterator[Gateway]:
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession())
        if kind == "real":
            real = await stack.enter_async_context(lan_gateway(folder, token=TOKEN))
            yield Gateway(real.endpoint, session, real.stop)
        else:
            double, endpoint = await stack.enter_async_context(gateway_double(token=TOKEN))
            yield Gateway(endpoint, session, double.stop)


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["double", "real"])
async def gateway(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Gateway]:
    async with opened(request.param, tmp_path_factory.mktemp("gateway")) as gateway:
        yield gateway


async def test_the_probes_answer(gateway: Gateway) -> None:
    for probe in (is_live, is_started):
        async with asyncio.timeout(LIMIT_S):  # each of its tries is given up after a moment
            while not await probe(gateway.session, gateway.endpoint):  # noqa: ASYNC110
                await asyncio.sleep(0.1)


async def test_admin_calls_need_the_token(gateway: Gateway) -> None:
    url = f"{gateway.endpoint.url}/api/v1/admin/rpc"
    async with gateway.session.post(url, json={"method": "health"}) as answer:
        assert answer.status == 401


async def test_an_unknown_admin_call_is_an_invalid_request(gateway: Gateway) -> None:
    with pytest.raises(GatewayRefused) as refused:
        await gateway.admin.call(gateway.access(), "no.such.method")

    assert refused.value.code == "INVALID_REQUEST"


async def test_a_new_device_has_to_be_paired_once(gateway: Gateway) -> None:
    access = gateway.access()
    with pytest.raises(HandshakeRefused) as refused:
        await connect(gateway.session, access, caller_params={})
    assert refused.value.not_paired

    for _ in range(2):
        link = await gateway.links.open(access, caller_params={})
        await link.socket.close()
    again = await connect(gateway.session, access, caller_params={})
    await again.socket.close()

    assert again.hello["auth"] == {"role": "operator", "scopes": list(SCOPES)}


async def suspended(control: OpenClawControl, access: GatewayAccess) -> str:
    async with asyncio.timeout(90):
        while True:
            answer = await control.suspend(access, request_id="contract")
            if isinstance(answer, Suspended):
                return answer.suspension_id
            # It works, and what it would send is not read.
            assert not control.has_control_socket(access)
            await asyncio.sleep(seconds_to_wait(answer))


def seconds_to_wait(answer: Busy) -> float:
    return max(answer.retry_after_s, 2)  # it takes 30 such questions a minute


@pytest.fixture
def control_sockets_take_their_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ocmt_agent.gateway.control_sockets._OPENED_WITHIN_S", LIMIT_S)


@pytest.mark.usefixtures("control_sockets_take_their_time")
async def test_a_lease_is_given_back_over_its_control_socket(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    control, access = OpenClawControl(gateway.session), gateway.access()
    assert control.control_socket_to(access.user_id) is None
    lease = await suspended(control, access)
    assert control.has_control_socket(access)
    assert control.control_socket_to(access.user_id) == access.endpoint

    async def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("nothing of this goes by HTTP")

    with monkeypatch.context() as without_http:
        without_http.setattr(GatewayAdmin, "call", refuse)
        await control.resume(access, lease)
    assert not control.has_control_socket(access)
    await gateway.admin.health(access)
    await control.close()


@pytest.mark.usefixtures("control_sockets_take_their_time")
async def test_without_its_control_socket_a_lease_is_given_back_by_http(gateway: Gateway) -> None:
    control, access = OpenClawControl(gateway.session), gateway.access()
    lease = await suspended(control, access)
    await control.close()
    assert not control.has_control_socket(access)
    await control.resume(access, lease)
    await gateway.admin.health(access)


@pytest.mark.usefixtures("control_sockets_take_their_time")
async def test_a_control_socket_that_broke_costs_one_more_call_and_no_error(
    gateway: Gateway,
) -> None:
    control, access = OpenClawControl(gateway.session), gateway.access()
    lease = await suspended(control, access)
    assert control._sockets._open
    for link in control._sockets._open.values():
        await link.socket.close()
    await control.resume(access, lease)
    again = await suspended(control, access)
    assert control._sockets._open
    for link in control._sockets._open.values():
        assert link.socket._response.connection is not None
        assert link.socket._response.connection.transport is not None
        link.socket._response.connection.transport.abort()
    await control.resume(access, again)
    await control.close()


async def test_however_many_connect_at_once_one_pairing_is_made(gateway: Gateway) -> None:
    access, links = gateway.access(), gateway.links
    opened = await asyncio.gather(*[links.open(access, caller_params={}) for _ in range(8)])
    for link in opened:
        await link.socket.close()

    listed = await gateway.admin.call(access, "device.pair.list")
    assert [d["deviceId"] for d in listed["paired"]].count(access.device.device_id) == 1
    assert access.device.device_id not in [d["deviceId"] for d in listed["pending"]]


async def test_a_wrong_token_is_refused_for_good(gateway: Gateway) -> None:
    with pytest.raises(HandshakeRefused) as refused:
        await gateway.links.open(gateway.access(token="wrong"), caller_params={})

    assert refused.value.reason == "AUTH_TOKEN_MISMATCH"
    assert not refused.value.passing


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"nonce": "another"}, "DEVICE_AUTH_NONCE_MISMATCH"),
        ({"signature": "A" * 86}, "DEVICE_AUTH_SIGNATURE_INVALID"),
        ({"signedAt": 1}, "DEVICE_AUTH_SIGNATURE_EXPIRED"),
    ],
)
async def test_a_device_proves_itself_on_the_challenge(
    gateway: Gateway, changed: dict[str, Any], reason: str
) -> None:
    answer = await raw_connect(gateway, lambda params: params["device"].update(changed))

    assert answer["error"]["details"]["code"] == reason


async def test_the_token_is_part_of_what_is_signed(gateway: Gateway) -> None:
    answer = await raw_connect(gateway, lambda params: params["auth"].update(token="wrong"))

    assert answer["error"]["details"]["code"] == "DEVICE_AUTH_SIGNATURE_INVALID"


async def test_another_protocol_is_refused(gateway: Gateway) -> None:
    answer = await raw_connect(gateway, lambda params: params.update(minProtocol=9, maxProtocol=9))

    assert answer["error"]["details"]["code"] == "PROTOCOL_MISMATCH"


async def test_a_hello_carries_credentials_and_callers_get_none_of_them(gateway: Gateway) -> None:
    access = gateway.access()
    link = await gateway.links.open(access, caller_params={})
    await link.socket.close()
    hello = (await raw_connect(gateway, lambda _: None, access=access))["payload"]

    secret = [hello["auth"]["deviceToken"], hello["auth"]["recoveryScope"]]
    secret += hello["pluginSurfaceUrls"].values()
    shown = json.dumps(hello_for_callers(hello))
    assert "sessionDefaults" in shown
    assert all(secret)
    assert not [text for text in secret if text in shown]


async def test_a_caller_may_send_nonsense_about_itself(gateway: Gateway) -> None:
    nonsense = {"caps": 5, "locale": [], "userAgent": {}, "scopes": ["operator.admin"]}
    link = await gateway.links.open(gateway.access(), caller_params=nonsense)
    await link.socket.close()

    assert "operator.admin" not in link.hello["auth"]["scopes"]


async def history_with(caller: Caller, run: str) -> list[dict[str, Any]]:
    """The frames up to the answer of `run`, which is not among them."""
    async with asyncio.timeout(LIMIT_S):
        while True:
            history = await caller.ask("chat.history", "h", sessionKey="main", limit=10)
            messages: list[dict[str, Any]] = history["payload"]["messages"]
            last = messages[-1] if messages else {}
            if last.get("role") == "assistant" and last["__openclaw"].get("runId") == run:
                return messages
            await asyncio.sleep(0.1)


async def test_a_caller_behind_the_proxy_chats_and_reads_the_history(gateway: Gateway) -> None:
    run = secrets.token_hex(4)
    async with gateway.caller() as caller:
        heard = await caller.say("What do you say?", run)
        history = await history_with(caller, run)

    assert heard == "".join(REPLY)
    said = [(m["role"], m["content"]) for m in history][-2:]
    assert said[0] == ("user", "What do you say?")
    assert said[1] == ("assistant", [{"type": "text", "text": heard}])
    for secret in (TOKEN, '"signature"', '"deviceToken"', '"recoveryScope"', "/cap/"):
        assert secret not in caller.seen


async def test_a_run_outlives_its_caller_and_an_id_is_answered_once(gateway: Gateway) -> None:
    run = secrets.token_hex(4)
    message = {"sessionKey": "main", "message": "Who hears it?", "idempotencyKey": run}
    async with gateway.caller() as caller:
        await caller.ask("chat.send", run, **message)

    async with gateway.caller() as caller:
        *_, asked, said = await history_with(caller, run)
        async with asyncio.timeout(LIMIT_S):
            while True:
                again = await caller.ask("chat.send", "again", **message)
                if again["payload"]["status"] != "in_flight":  # its answer is there before its end
                    break
                await asyncio.sleep(0.1)
        history = await caller.ask("chat.history", "h2", sessionKey="main", limit=10)

    assert asked["idempotencyKey"] == f"{run}:user"
    assert said["content"] == [{"type": "text", "text": "".join(REPLY)}]
    assert again["payload"] == {"runId": run, "status": "ok"}
    assert history["payload"]["messages"][-2:] == [asked, said]


async def test_answers_begin_with_type_and_id(gateway: Gateway) -> None:
    """The proxy recognises them by that, without parsing whole answers."""
    async with gateway.caller() as caller:
        await caller.ask("chat.history", "found-me", sessionKey="main", limit=1)

    assert '{"type":"res","id":"found-me",' in caller.seen


async def test_our_rights_end_before_administration(gateway: Gateway) -> None:
    async with gateway.caller() as caller:
        answer = await caller.ask("config.set", "1")

    assert answer["error"]["code"] == "FORBIDDEN"


async def test_a_suspended_gateway_refuses_calls_with_a_later_time(gateway: Gateway) -> None:
    access = gateway.access()
    async with gateway.caller() as caller, asyncio.timeout(LIMIT_S):
        while True:
            lease = await gateway.admin.suspend(access, request_id="contract")
            if isinstance(lease, Suspended):
                break
            await asyncio.sleep(seconds_to_wait(lease))
        # A lease whose answer was lost is found again by its request.
        assert await gateway.admin.suspend(access, request_id="contract") == lease
        refused = await caller.ask(
            "chat.send", "1", sessionKey="main", message="hi", idempotencyKey="suspended"
        )
        await gateway.admin.resume(access, lease.suspension_id)
        heard = await caller.say("hi", secrets.token_hex(4))

    assert refused["error"]["code"] == "UNAVAILABLE"
    assert refused["error"]["retryable"] is True
    assert heard == "".join(REPLY)


async def raw_connect(
    gateway: Gateway,
    change: Callable[[dict[str, Any]], object],
    *,
    access: GatewayAccess | None = None,
) -> dict[str, Any]:
    """The gateway's answer to our `connect` with one thing changed in it."""
    async with gateway.session.ws_connect(gateway.endpoint.url) as socket:
        challenge = (await socket.receive_json())["payload"]
        params = connect_params(
            access or gateway.access(), {}, nonce=challenge["nonce"], signed_at_ms=challenge["ts"]
        )
        change(params)
        await socket.send_json({"type": "req", "id": "1", "method": "connect", "params": params})
        answer: dict[str, Any] = await socket.receive_json()
        return answer


async def test_a_stopping_gateway_announces_it_and_closes_with_1012(
    gateway: Gateway,
) -> None:
    """The last test, since it stops the gateway that all others use."""
    link = await gateway.links.open(gateway.access(), caller_params={})
    stopping = asyncio.create_task(gateway.stop())
    announced: dict[str, Any] = {}
    async with asyncio.timeout(LIMIT_S):
        async for message in link.socket:
            frame = json.loads(message.data)
            if frame["event"] == "shutdown":
                announced = frame
        await stopping

    assert announced.get("payload") == {"reason": "gateway stopping"}
    assert link.socket.close_code == 1012
