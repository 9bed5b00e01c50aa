"""A client of the agent server's API, with typed errors.

Every call carries this server's credential and the current request's id; users are named by id.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from http import HTTPStatus
from typing import Any, TypeVar
from urllib.parse import quote

import httpx2
import structlog
from ocmt_common.agent_api import (
    AUTH_HEADER,
    AgentModel,
    AgentServerHealth,
    Container,
    HostDay,
    ProvisionRequest,
    StateEvent,
    ToolServer,
    ToolServerState,
    Wire,
)
from ocmt_common.host_credentials import HostCredentials
from ocmt_common.problems import PROBLEM_JSON, REQUEST_ID_HEADER, Problem
from ocmt_common.tls_failures import tls_reason
from pydantic import TypeAdapter, ValidationError
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidHandshake, InvalidStatus

from ocmt_management.no_cookies import no_cookies

log = structlog.get_logger(__name__)

_TIMEOUT = httpx2.Timeout(10, read=30)
# The answer comes when the gateway answers; the agent server's own limit is WAKE_TIMEOUT_MS.
_WAKE_TIMEOUT = httpx2.Timeout(10, read=600)
# The stream sends something at least every 15 s.
_EVENTS_TIMEOUT = httpx2.Timeout(10, read=45)
_SOCKET_TIMEOUT_S = 10
_CLOSE_TIMEOUT_S = 2
# Shorter than uvicorn's keep-alive (5 s): a request on a connection being closed has no answer.
_LIMITS = httpx2.Limits(keepalive_expiry=4)
_BROKE_OFF = (httpx2.RemoteProtocolError, httpx2.ReadError, httpx2.WriteError)
_MAX_EVENT_BYTES = 64 * 1024 * 1024
_MAX_GATEWAY_FRAME_BYTES = 32 * 1024 * 1024

_CONTAINERS = TypeAdapter(list[Container])
_OTHER_TOKENS = "run `./ocmt renew`, which gives both hosts the same token in TLS_DIR."
_OTHER_ROLE = (
    "the certificate in TLS_DIR is not for a management host; run `./ocmt setup` for this host."
)
_OUR_WORDS = {
    "agent-asleep": "Your agent is asleep. Wake it first.",
    "agent-disabled": "The agent is disabled. It can be woken a moment after its user is "
    "reactivated.",
}
_REFUSALS = frozenset(status for status in HTTPStatus if status >= 400)


Answer = TypeVar("Answer", bound=Wire)


class _Connecting(connect):
    """A WebSocket client that follows no redirect, which would send our token elsewhere."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


class AgentServerUnreachable(Problem):
    """Nothing answers at AGENT_SERVER_URL, or something other than the agent server."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            503,
            "agent-server-unreachable",
            "The agent server does not answer. OCMT keeps trying. "
            f"Operator: check that it runs and that AGENT_SERVER_URL is right ({reason}).",
            retry_after_s=5,
        )


class AgentServerRefusesUs(Problem):
    """The agent server rejects our token, or our certificate."""

    def __init__(
        self, cure: str = "set AGENT_AUTH_TOKEN to the agent server's AUTH_TOKEN."
    ) -> None:
        super().__init__(
            503,
            "agent-server-refuses-us",
            f"The agent server rejects this server. Operator: {cure}",
            retry_after_s=30,
        )


class NoSuchAgent(Problem):
    """The agent server does not have this user's agent."""

    def __init__(self) -> None:
        super().__init__(
            404, NO_SUCH_AGENT, "The agent is not on its server. OCMT sets it up again."
        )


NO_SUCH_AGENT = "no-such-agent"
"""The agent server's code for an agent that it does not have, in problems and close reasons."""


class NoSuchFile(Problem):
    """The agent does not have this file any more, or never had it."""

    def __init__(self) -> None:
        super().__init__(404, "no-such-file", "Your agent does not have this file any more.")


class AgentsSnapshot(Wire):
    """The first event of the agent server's stream: all agents."""

    containers: list[Container]


class AgentServer:
    def __init__(self, url: str, token: str, *, credentials: HostCredentials | None = None) -> None:
        """`credentials` are for an agent server on another host; they replace `token`."""
        self._socket_url = "ws" + url.removeprefix("http")
        self._token = token
        self._credentials = credentials
        self._http = httpx2.AsyncClient(
            base_url=url,
            timeout=_TIMEOUT,
            limits=_LIMITS,
            cookies=no_cookies(),
            trust_env=False,
            verify=True if credentials is None else credentials.client,
        )

    async def close(self) -> None:
        await self._http.aclose()

    async def provision(self, user_id: str, agent_token: str) -> Container:
        """Provision the user's agent, or change its token. Returns once its gateway answers."""
        body = ProvisionRequest(user_id=user_id, agent_token=agent_token)
        return await self._container(
            "POST", "/api/containers", json=body.model_dump(by_alias=True), timeout=_WAKE_TIMEOUT
        )

    async def wake(self, user_id: str) -> Container:
        """Wake the agent. Returns once it is awake."""
        return await self._container(
            "POST", f"/api/containers/{user_id}/wake", timeout=_WAKE_TIMEOUT
        )

    async def send(
        self, method: str, user_id: str, path: str, *, repeatable: bool = True, **options: Any
    ) -> httpx2.Response:
        """One request about one agent, below its path. Raises `Problem` for a refusal."""
        request = self._request if repeatable else self._request_once
        return await request(method, f"/api/containers/{user_id}{path}", **options)

    async def read(self, user_id: str, path: str, kind: type[Answer], **options: Any) -> Answer:
        """`send` for an answer of this kind."""
        response = await self.send("GET", user_id, path, **options)
        with _valid_answer():
            return kind.model_validate_json(response.content)

    async def restart(self, user_id: str) -> Container:
        """End the gateway, even if it works, and start it again. Returns once it answers."""
        return await self._container(
            "POST", f"/api/containers/{user_id}/restart", timeout=_WAKE_TIMEOUT
        )

    async def disable(self, user_id: str) -> Container:
        """Stop the agent until it is enabled again. Returns once it has stopped."""
        return await self._container(
            "POST", f"/api/containers/{user_id}/disable", timeout=_WAKE_TIMEOUT
        )

    async def enable(self, user_id: str) -> Container:
        return await self._container("POST", f"/api/containers/{user_id}/enable")

    async def remove(self, user_id: str) -> None:
        """Remove the agent and its state; no error if the user has no agent."""
        await self._request(
            "DELETE",
            f"/api/containers/{user_id}",
            params={"state": "delete"},
            timeout=_WAKE_TIMEOUT,
        )

    async def containers(self) -> list[Container]:
        response = await self._request("GET", "/api/containers")
        with _valid_answer():
            return _CONTAINERS.validate_json(response.content)

    async def host(self) -> tuple[AgentServerHealth, HostDay]:
        """The host now, and its last 24 hours."""
        health = await self._request("GET", "/health")
        day = await self._request("GET", "/api/host")
        with _valid_answer():
            return (
                AgentServerHealth.model_validate_json(health.content),
                HostDay.model_validate_json(day.content),
            )

    async def hibernate(self, user_id: str, mode: str) -> Container:
        """Pause or stop the agent, if its gateway agrees."""
        return await self._container(
            "POST",
            f"/api/containers/{user_id}/hibernate",
            json={"mode": mode},
            timeout=_WAKE_TIMEOUT,
        )

    async def check(self) -> None:
        """Raise `Problem` if the agent server is unreachable or reports a problem."""
        response = await self._request("GET", "/health")
        with _valid_answer():
            health = AgentServerHealth.model_validate_json(response.content)
        if health.status != "ok":
            raise Problem(
                503,
                "agent-server-degraded",
                " ".join(health.problems) or "The agent server reports that it is degraded.",
            )

    async def set_tools_version(self, user_id: str, version: int) -> None:
        """Make the agent list its tools again if its version differs. Does not wake the agent."""
        await self._request(
            "PUT", f"/api/containers/{user_id}/tools-version", json={"version": version}
        )

    async def set_model(self, user_id: str, model: AgentModel) -> None:
        """Set what the agent has to know of its user's model. Does not wake the agent."""
        await self._request(
            "PUT", f"/api/containers/{user_id}/model", json=model.model_dump(by_alias=True)
        )

    async def define_tool_server(
        self, user_id: str, server_id: str, definition: Mapping[str, Any]
    ) -> None:
        """Define a user's tool server: a package run over stdio. Call this before `tool_server`."""
        await self._request(
            "PUT", f"/api/containers/{user_id}/tool-servers/{server_id}", json=dict(definition)
        )

    async def tool_server_state(self, user_id: str, server_id: str) -> ToolServerState:
        """Raises `NoSuchAgent` if the agent server has no definition of it."""
        response = await self._request("GET", f"/api/containers/{user_id}/tool-servers/{server_id}")
        with _valid_answer():
            return ToolServer.model_validate_json(response.content).state

    async def remove_tool_server(self, user_id: str, server_id: str) -> None:
        """Stop and remove a user's tool server; no error if it does not exist."""
        with suppress(NoSuchAgent):
            await self._request("DELETE", f"/api/containers/{user_id}/tool-servers/{server_id}")

    @asynccontextmanager
    async def tool_server(
        self,
        user_id: str,
        server_id: str,
        method: str,
        *,
        headers: Sequence[tuple[str, str]],
        body: bytes | None,
    ) -> AsyncIterator[httpx2.Response]:
        """Send a request to a user's tool server and stream the response. Raises `Problem`."""
        own = self._headers()
        try:
            async with self._http.stream(
                method,
                f"/api/containers/{user_id}/tool-servers/{server_id}/mcp",
                headers=[*headers, *own.items()],
                content=body,
                timeout=_WAKE_TIMEOUT,
            ) as response:
                if response.headers.get("content-type", "").startswith(PROBLEM_JSON):
                    raise self._refusal(response.status_code, await response.aread())
                yield response
        except httpx2.HTTPError as error:
            raise self._unreachable(error) from error

    async def events(self) -> AsyncIterator[AgentsSnapshot | StateEvent]:
        """Stream the events of all agents, starting with a snapshot, until the agent server stops.

        Raises `Problem` if it is unreachable or the connection breaks.
        """
        try:
            async with self._http.stream(
                "GET", "/api/events", headers=self._headers(), timeout=_EVENTS_TIMEOUT
            ) as response:
                await self._checked(response)
                source = httpx2.EventSource(response, max_event_size=_MAX_EVENT_BYTES)
                async for event in source:
                    with _valid_answer():
                        kind = AgentsSnapshot if event.event == "snapshot" else StateEvent
                        yield kind.model_validate_json(event.data)
        except httpx2.HTTPError as error:
            raise self._unreachable(error) from error

    @asynccontextmanager
    async def file(
        self, user_id: str, conversation: str, file_id: str
    ) -> AsyncIterator[httpx2.Response]:
        """A file that the agent sent, to be streamed. Wakes the agent. Raises `Problem`."""
        path = f"proxy/api/chat/media/outgoing/{quote(conversation, safe='')}/{file_id}/full"
        async with self._stream(user_id, path, {}) as response:
            if response.status_code == 404:
                raise NoSuchFile
            yield await self._checked(response)

    @asynccontextmanager
    async def attachment(self, user_id: str, name: str) -> AsyncIterator[httpx2.Response]:
        """A file that the user attached to a message, to be streamed. Raises `Problem`."""
        async with self._stream(user_id, "attachments", {"name": name}) as response:
            yield await self._checked(response)

    @asynccontextmanager
    async def workspace_file(self, user_id: str, path: str) -> AsyncIterator[httpx2.Response]:
        """A file of the agent's workspace, to be streamed. Raises `Problem`."""
        async with self._stream(user_id, "files/content", {"path": path}) as response:
            yield await self._checked(response)

    @asynccontextmanager
    async def _stream(
        self, user_id: str, path: str, params: Mapping[str, str]
    ) -> AsyncIterator[httpx2.Response]:
        try:
            async with self._http.stream(
                "GET",
                f"/api/containers/{user_id}/{path}",
                params=params,
                headers=self._headers(),
                timeout=_WAKE_TIMEOUT,
            ) as response:
                yield response
        except httpx2.HTTPError as error:
            raise self._unreachable(error) from error

    async def open_gateway(self, user_id: str) -> ClientConnection:
        """Open a WebSocket to this user's gateway through the agent server, without the handshake.

        Raises `Problem`.
        """
        try:
            return await _Connecting(
                f"{self._socket_url}/api/containers/{user_id}/proxy/",
                additional_headers=self._headers(),
                open_timeout=_SOCKET_TIMEOUT_S,
                close_timeout=_CLOSE_TIMEOUT_S,
                max_size=_MAX_GATEWAY_FRAME_BYTES,
                compression=None,
                proxy=None,
                ssl=None if self._credentials is None else self._credentials.client,
            )
        except InvalidStatus as error:
            raise self._refusal(
                error.response.status_code, bytes(error.response.body or b"")
            ) from error
        except (OSError, InvalidHandshake) as error:
            raise self._unreachable(error) from error

    async def _container(self, method: str, path: str, **options: Any) -> Container:
        response = await self._request(method, path, **options)
        with _valid_answer():
            return Container.model_validate_json(response.content)

    async def _request_once(self, method: str, path: str, **options: Any) -> httpx2.Response:
        """Send a request that must not be sent twice."""
        try:
            return await self._checked(
                await self._http.request(method, path, headers=self._headers(), **options)
            )
        except httpx2.HTTPError as error:
            raise self._unreachable(error) from error

    async def _request(self, method: str, path: str, **options: Any) -> httpx2.Response:
        """Send a request; retry once if the connection breaks, since it may be repeated."""
        request = partial(self._http.request, method, path, headers=self._headers(), **options)
        try:
            try:
                response = await request()
            except _BROKE_OFF:
                response = await request()
            return await self._checked(response)
        except httpx2.HTTPError as error:
            raise self._unreachable(error) from error

    def _headers(self) -> dict[str, str]:
        token = self._token if self._credentials is None else self._credentials.token
        return {AUTH_HEADER: token, **_request_id()}

    async def _checked(self, response: httpx2.Response) -> httpx2.Response:
        if not response.is_success:
            raise self._refusal(response.status_code, await response.aread())
        return response

    def _refusal(self, status: int, body: bytes) -> Problem:
        if status == 401 and self._credentials is not None:
            return AgentServerRefusesUs(_OTHER_TOKENS)
        return _refusal(status, body)

    def _unreachable(self, error: BaseException) -> AgentServerUnreachable:
        reason = tls_reason(error, self._credentials) or str(error) or type(error).__name__
        return AgentServerUnreachable(reason)


def _request_id() -> dict[str, str]:
    request_id = structlog.contextvars.get_contextvars().get("request_id")
    return {} if request_id is None else {REQUEST_ID_HEADER: str(request_id)}


def _refusal(status: int, body: bytes) -> Problem:
    """Convert the agent server's error response to a problem with its code and detail."""
    if status == 401:
        return AgentServerRefusesUs()
    if status not in _REFUSALS:
        return AgentServerUnreachable(f"another program answers there: status {status}")
    try:
        problem = _ProblemBody.model_validate_json(body)
    except ValidationError:
        return AgentServerUnreachable(f"it answered {status} without a reason")
    if problem.code == "wrong-host":
        return AgentServerRefusesUs(_OTHER_ROLE)
    if problem.code == NO_SUCH_AGENT:
        return NoSuchAgent()
    return Problem(status, problem.code, _OUR_WORDS.get(problem.code, problem.detail))


class _ProblemBody(Wire):
    code: str
    detail: str


class _valid_answer:
    """Turns a response that does not validate into `AgentServerUnreachable`."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, ValidationError):
            raise AgentServerUnreachable("another program answers there") from error
