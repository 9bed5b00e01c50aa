"""Management and agent server on two hosts: which connections succeed, and each refusal's text."""

import asyncio
import contextlib
import json
import ssl
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
import structlog
from ocmt_agent.app import create_app
from ocmt_agent.proxy.forwarding import open_session
from ocmt_agent.proxy.relay import relay_app
from ocmt_common.host_credentials import HostCredentials
from ocmt_common.problems import Problem
from ocmt_management.agents.client import AgentServer
from ocmt_management.hosts_app import hosts_app
from ocmt_testing.agent_server.host import open_host
from ocmt_testing.management.agent_server import TOKEN as AGENT_SERVER_TOKEN
from ocmt_testing.management.agent_server import FakeAgentServer, running_agent_server
from ocmt_testing.tls.hosts import LONG_AGO, TOKEN, Hosts, serving_hosts
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

Call = Callable[[AgentServer], Awaitable[Any]]


@pytest.fixture
def hosts(tmp_path: Path) -> Hosts:
    return Hosts(tmp_path)


async def _events(server: AgentServer) -> Any:
    async for event in server.events():
        return event
    return None


CALLS: list[Call] = [lambda server: server.containers(), _events, lambda s: s.open_gateway("ada")]


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _url(port: int) -> str:
    return f"https://127.0.0.1:{port}"


async def _refusal(server: AgentServer, call: Call) -> Problem:
    try:
        with pytest.raises(Problem) as refused:
            await call(server)
    finally:
        await server.close()
    return refused.value


async def test_management_uses_the_agent_servers_whole_api_over_tls(
    hosts: Hosts, tmp_path: Path
) -> None:
    credentials = hosts.agent_server()
    async with (
        open_host(_made(tmp_path / "data")) as host,
        serving_hosts(
            create_app(host.parts, for_host=credentials), credentials, role="mgmt"
        ) as port,
    ):
        server = AgentServer(_url(port), "", credentials=hosts.management())
        await host.provision("ada")
        assert [one.user_id for one in await server.containers()] == ["ada"]
        assert "ada" in repr(await _events(server))
        await server.check()
        await server.close()
    assert credentials.token_in_use == credentials.token_ids[0]


async def test_a_gateways_socket_passes_over_tls(hosts: Hosts) -> None:
    fake = FakeAgentServer()
    hosts.write("front", roles=["mgmt"], tokens=[AGENT_SERVER_TOKEN])
    credentials = HostCredentials(hosts.folder / "front")
    async with serving_hosts(fake.app(), hosts.agent_server(), role="mgmt") as port:
        server = AgentServer(_url(port), "", credentials=credentials)
        await server.provision("ada", "agent-token-of-16-and-more")
        async with await server.open_gateway("ada") as socket:
            assert json.loads(await socket.recv())["event"] == "connect.challenge"
            await socket.send('{"type":"req","id":"1","method":"connect","params":{}}')
            assert json.loads(await socket.recv())["id"] == "1"
        fake.hang_up()
        await server.close()


@pytest.mark.parametrize("call", CALLS, ids=["containers", "events", "gateway"])
@pytest.mark.parametrize(
    ("theirs", "ours", "code", "says"),
    [
        ({"issued_ago": LONG_AGO}, {}, "agent-server-unreachable", "its certificate has expired"),
        ({"address": "127.0.0.9"}, {}, "agent-server-unreachable", "is for another address"),
        ({"address": "agents.example"}, {}, "agent-server-unreachable", "is for another address"),
        ({"ca": "other"}, {}, "agent-server-unreachable", "not issued by this installation's CA"),
        (
            {"issued_ago": timedelta(days=-3)}, {},
            "agent-server-unreachable", "compare the clocks",
        ),
        ({}, {"issued_ago": LONG_AGO}, "agent-server-unreachable", "own certificate expired on"),
        (
            {}, {"issued_ago": timedelta(days=-3)},
            "agent-server-unreachable", "own certificate is valid from",
        ),
        ({}, {"roles": ["agent"]}, "agent-server-refuses-us", "not of a management host"),
        ({}, {"tokens": ["x" * 32]}, "agent-server-refuses-us", "run `./ocmt renew`"),
        ({}, {"tokens": [TOKEN[:-1] + "0"]}, "agent-server-refuses-us", "run `./ocmt renew`"),
    ],
)  # fmt: skip
async def test_management_says_what_is_wrong_between_the_hosts(
    hosts: Hosts,
    tmp_path: Path,
    theirs: dict[str, Any],
    ours: dict[str, Any],
    code: str,
    says: str,
    call: Call,
) -> None:
    if theirs.get("ca"):
        theirs = {"authority": Hosts(_made(tmp_path / "other")).authority}
    agent = HostCredentials(hosts.write("agents-1", **{"roles": ["agent"], **theirs}))
    management = HostCredentials(hosts.write("front", **{"roles": ["mgmt"], **ours}))
    async with (
        open_host(_made(tmp_path / "data")) as host,
        serving_hosts(create_app(host.parts, for_host=agent), agent, role="mgmt") as port,
    ):
        problem = await _refusal(AgentServer(_url(port), "", credentials=management), call)
    assert (problem.status, problem.code) == (503, code)
    assert says in problem.detail
    assert TOKEN not in problem.detail


async def test_a_plain_server_at_an_https_address_is_named(hosts: Hosts) -> None:
    async with running_agent_server() as fake:
        url = fake.server.url.replace("http:", "https:")
        problem = await _refusal(AgentServer(url, "", credentials=hosts.management()), CALLS[0])
    assert "that port does not use TLS" in problem.detail


def _context(
    hosts: Hosts, *, folder: Path | None = None, most: ssl.TLSVersion | None = None
) -> ssl.SSLContext:
    """A client that trusts the CA and presents the certificate of `folder`, if any."""
    context = ssl.create_default_context(cadata=hosts.authority.certificate)
    if folder is not None:
        context.load_cert_chain(folder / "host.pem")
    if most is not None:
        context.maximum_version = most
    return context


async def _echo(scope: Scope, receive: Receive, send: Send) -> None:
    body = await Request(scope, receive).body()
    await JSONResponse({"path": scope["path"], "bytes": len(body)})(scope, receive, send)


@pytest.mark.parametrize("stranger", ["without", "another CA", "ended", "TLS 1.2", "in the clear"])
async def test_who_has_no_certificate_of_the_ca_gets_no_answer_at_all(
    hosts: Hosts, tmp_path: Path, stranger: str
) -> None:
    own = hosts.write("front", roles=["mgmt"])
    (tmp_path / "b").mkdir()
    context = {
        "without": lambda: _context(hosts),
        "another CA": lambda: _context(
            hosts, folder=Hosts(tmp_path / "b").write("front", roles=["mgmt"])
        ),
        "ended": lambda: _context(
            hosts, folder=hosts.write("old", roles=["mgmt"], issued_ago=LONG_AGO)
        ),
        "TLS 1.2": lambda: _context(hosts, folder=own, most=ssl.TLSVersion.TLSv1_2),
        "in the clear": lambda: _context(hosts, folder=own),
    }[stranger]()
    async with serving_hosts(_echo, hosts.agent_server(), role="mgmt") as port:
        url = _url(port) if stranger != "in the clear" else f"http://127.0.0.1:{port}"
        async with httpx2.AsyncClient(verify=context, trust_env=False) as client:
            with pytest.raises(httpx2.TransportError):
                await client.get(url)
        async with httpx2.AsyncClient(verify=_context(hosts, folder=own)) as client:
            assert (await client.get(_url(port))).status_code == 200


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\n", b"\x16\x03\x01\x02"])
async def test_a_connection_that_never_ends_its_handshake_is_closed(
    hosts: Hosts, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr("ocmt_common.handover.HANDSHAKE_S", 0.2)
    async with serving_hosts(_echo, hosts.agent_server(), role="mgmt") as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        async with asyncio.timeout(10):
            with contextlib.suppress(ConnectionResetError):
                await reader.read()
        writer.close()


async def test_a_request_with_endless_headers_is_refused_over_tls_too(hosts: Hosts) -> None:
    folder = hosts.write("front", roles=["mgmt"])
    async with (
        serving_hosts(_echo, hosts.agent_server(), role="mgmt") as port,
        httpx2.AsyncClient(verify=_context(hosts, folder=folder), base_url=_url(port)) as client,
    ):
        answer = await client.get("/", headers={f"x-{n}": "v" * 1000 for n in range(90)})
    assert (answer.status_code, answer.json()["code"]) == (431, "headers-too-large")


async def _relayed(port: int, credentials: HostCredentials) -> httpx2.Response:
    """The relay's answer to an agent."""
    async with open_session(credentials) as session:
        app = relay_app(_url(port), lambda token: True, session, credentials)
        transport = httpx2.ASGITransport(app=app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://relay") as agent:
            return await agent.post(
                "/llm/v1/chat/completions",
                content=b"x" * 5000,
                headers={"authorization": "Bearer t"},
            )


async def test_the_relay_reaches_managements_models_over_tls(hosts: Hosts) -> None:
    async with serving_hosts(hosts_app(_echo), hosts.management(), role="agent") as port:
        answer = await _relayed(port, hosts.agent_server())
    assert answer.json() == {"path": "/llm/v1/chat/completions", "bytes": 5000}


@pytest.mark.parametrize(
    "path", ["/", "/api/me", "/health", "/llmx/v1", "/api/admin/users", "/mcpx"]
)
async def test_an_agent_host_reaches_models_and_tools_of_management_only(
    hosts: Hosts, path: str
) -> None:
    folder = hosts.write("agents-1", roles=["agent"])
    async with (
        serving_hosts(hosts_app(_echo), hosts.management(), role="agent") as port,
        httpx2.AsyncClient(verify=_context(hosts, folder=folder), base_url=_url(port)) as client,
    ):
        assert (await client.get(path)).json()["code"] == "no-such-path"
        for open_path in ("/llm/v1/models", "/mcp", "/mcp/"):
            assert (await client.get(open_path)).status_code == 200


@pytest.mark.parametrize(
    ("theirs", "ours", "status", "says"),
    [
        ({"issued_ago": LONG_AGO}, {}, 503, "its certificate has expired"),
        ({"address": "127.0.0.9"}, {}, 503, "is for another address"),
        ({"ca": "other"}, {}, 503, "not issued by this installation's CA"),
        ({}, {"issued_ago": LONG_AGO}, 503, "own certificate expired on"),
        ({}, {"issued_ago": timedelta(days=-3)}, 503, "own certificate is valid from"),
        ({}, {"roles": ["mgmt"]}, 403, None),
    ],
)
async def test_the_relay_logs_what_is_wrong_between_the_hosts(
    hosts: Hosts,
    tmp_path: Path,
    theirs: dict[str, Any],
    ours: dict[str, Any],
    status: int,
    says: str | None,
) -> None:
    if theirs.get("ca"):
        theirs = {"authority": Hosts(_made(tmp_path / "other")).authority}
    management = HostCredentials(hosts.write("front", **{"roles": ["mgmt"], **theirs}))
    agent = HostCredentials(hosts.write("agents-1", **{"roles": ["agent"], **ours}))
    with structlog.testing.capture_logs() as logs:
        async with serving_hosts(hosts_app(_echo), management, role="agent") as port:
            answer = await _relayed(port, agent)
    assert answer.status_code == status
    if says is None:
        assert answer.json()["code"] == "wrong-host"
    else:
        assert answer.json()["code"] == "management-unavailable"
        assert [line for line in logs if says in str(line.get("reason"))]


async def test_a_new_certificate_and_token_are_used_without_a_restart(hosts: Hosts) -> None:
    folder = hosts.write("agents-1", roles=["agent"])
    credentials = HostCredentials(folder)
    async with (
        serving_hosts(_echo, credentials, role="mgmt") as port,
        credentials.followed(every_s=0.01),
    ):
        context = _context(hosts, folder=hosts.write("front", roles=["mgmt"]))

        async def shown() -> bytes:
            _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
            shown: bytes = writer.get_extra_info("ssl_object").getpeercert(True)
            writer.close()
            return shown

        before = await shown()
        hosts.write("agents-1", roles=["agent"], tokens=["n" * 40, TOKEN])
        async with asyncio.timeout(10):
            while await shown() == before:  # noqa: ASYNC110 (each look is a handshake)
                await asyncio.sleep(0.01)
        assert credentials.accepts("n" * 40)
        assert credentials.accepts(TOKEN)
        for name, text in (("tokens", "short"), ("host.pem", "spoiled"), ("ca.pem", "")):
            kept = (folder / name).read_text()
            (folder / name).write_text(text)
            await asyncio.sleep(0.05)
            assert credentials.accepts(TOKEN)
            assert await shown() != before
            (folder / name).write_text(kept)
