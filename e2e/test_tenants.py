"""A second user reaches nothing of the first user's, on any route of either server.

Routes come from the servers' own tables, so a new route is tested the day it is added.
"""

import json
import re
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest
from fastapi import APIRouter
from fastapi.routing import APIRoute, APIWebSocketRoute
from ocmt_agent.api import endpoints as agent_endpoints
from ocmt_agent.api import file_endpoints, tool_server_endpoints
from ocmt_agent.auth import OPEN_PATHS
from ocmt_agent.proxy.routes import PATH as PROXY_PATH
from ocmt_management.app import ROUTERS
from ocmt_testing.system.chat import ChatPage, client_of
from ocmt_testing.system.stack import Stack
from playwright.sync_api import Browser, expect
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

SECRET = "a-secret-of-the-first-user-0123456789"
SIGN_OUT = {("DELETE", "/api/auth/session"), ("DELETE", "/api/auth/sessions")}


def routes_of(*routers: APIRouter) -> list[tuple[str, str]]:
    return sorted(
        (method, route.path)
        for router in routers
        for route in router.routes
        if isinstance(route, APIRoute)
        for method in route.methods or ()
        if method != "HEAD"
    )


MANAGEMENT_ROUTES = [route for route in routes_of(*ROUTERS) if route not in SIGN_OUT]
AGENT_ROUTES = [
    *(route for route in routes_of(agent_endpoints.router) if route[1] not in OPEN_PATHS),
    *routes_of(file_endpoints.router, tool_server_endpoints.router),
    ("GET", PROXY_PATH),
    ("POST", PROXY_PATH),
]
BODIES: dict[str, dict[str, Any]] = {
    "/api/auth/link": {"email": "third@example.org"},
    "/api/auth/session": {"token": "x" * 43},
    "/api/model": {"provider": "demo", "model": "demo"},
    "/api/secrets/{name}": {"value": "of-the-second-user"},
    "/api/admin/users/{user_id}": {"status": "suspended"},
    "/api/admin/users/{user_id}/deletion": {"email": "admin@localhost"},
    "/api/auth/link/account": {"token": "x" * 43},
    "/api/admin/invitations": {"email": "fourth@example.org"},
    "/api/account/deletion": {"email": "first-tenant@example.org"},
    "/api/admin/invitations/bulk": {"emails": ["fourth@example.org"]},
    "/api/admin/agents/{user_id}/order": {"order": "stop"},
    "/api/agent/times": {"idleMinutes": None, "officeHours": None, "heartbeatMinutes": None},
    "/api/agent/jobs/{job_id}": {"enabled": False},
}


@dataclass
class Tenants:
    first: httpx2.Client
    second: httpx2.Client
    first_id: str
    first_session: str
    second_token: str
    marks: tuple[str, ...]
    """What only the first user may ever see."""

    def path_of(self, route: str) -> str:
        """The route with the first user's ids filled in."""
        names = {"user_id": self.first_id, "session_id": self.first_session, "name": "mine"}
        return re.sub(r"\{(\w+)(?::\w+)?\}", lambda m: names.get(m.group(1), "openai"), route)


@pytest.fixture(scope="module")
def tenants(stack: Stack, browser: Browser) -> Any:
    with ChatPage(browser) as one, ChatPage(browser) as two:
        one.sign_in(stack.link("first-tenant@example.org"))
        mark = one.ask("Something private")
        two.sign_in(stack.link("second-tenant@example.org"))
        two.ask("Hello")
        first, second = client_of(stack, one), client_of(stack, two)
        first.put("/api/secrets/mine", json={"value": SECRET}).raise_for_status()
        sessions = first.get("/api/auth/sessions").json()["sessions"]
        first_id = first.get("/api/me").json()["user"]["id"]
        second_id = second.get("/api/me").json()["user"]["id"]
        yield Tenants(
            first=first,
            second=second,
            first_id=first_id,
            first_session=sessions[0]["id"],
            second_token=stack.agent_token(second_id),
            marks=(mark, SECRET, SECRET[-4:], "first-tenant@example.org", sessions[0]["id"]),
        )
        # Whatever the second one tried, nothing of the first one's has changed.
        assert first.get("/api/me").json()["user"]["id"] == first_id
        assert [s["name"] for s in first.get("/api/secrets").json()["secrets"]] == ["mine"]
        one.page.reload()
        expect(one.answers.filter(has_text=mark)).to_have_count(1, timeout=60_000)
        first.close()
        second.close()


@pytest.mark.parametrize(("method", "route"), MANAGEMENT_ROUTES)
def test_no_route_of_management_shows_or_touches_another_user_s(
    tenants: Tenants, method: str, route: str
) -> None:
    answer = tenants.second.request(method, tenants.path_of(route), json=BODIES.get(route))

    if route.startswith("/api/admin"):
        assert answer.status_code == 403
    for mark in tenants.marks:
        assert mark not in answer.text


def test_the_second_user_s_conversation_is_their_own(
    tenants: Tenants, stack: Stack, browser: Browser
) -> None:
    with ChatPage(browser) as chat:
        chat.sign_in(stack.link("second-tenant@example.org"))
        expect(chat.answers.first).to_be_visible(timeout=60_000)
        assert tenants.marks[0] not in chat.page.content()
        expect(chat.page.get_by_text(tenants.marks[0])).to_have_count(0)


@pytest.mark.parametrize(("method", "route"), AGENT_ROUTES)
def test_no_route_of_the_agent_server_takes_what_a_user_or_a_container_has(
    tenants: Tenants, stack: Stack, method: str, route: str
) -> None:
    url = stack.agent_url + tenants.path_of(route).replace("openai", "healthz")
    session = next(iter(tenants.second.cookies.values()))
    offers: list[dict[str, str]] = [
        {},
        {"x-auth-token": tenants.second_token},
        {"x-auth-token": session},
        {"Authorization": f"Bearer {tenants.second_token}"},
    ]
    with httpx2.Client(timeout=60, trust_env=False) as stranger:
        for headers in offers:
            answer = stranger.request(method, url, headers=headers)
            assert answer.status_code == 401, (headers.keys(), answer.text)


@pytest.mark.parametrize("path", ["", "v1/x"])
def test_the_agent_server_s_socket_takes_nothing_of_that_either(
    tenants: Tenants, stack: Stack, path: str
) -> None:
    url = f"{stack.agent_url}/api/containers/{tenants.first_id}/proxy/{path}"
    session = next(iter(tenants.second.cookies.values()))
    for token in ("", tenants.second_token, session):
        with (
            pytest.raises(InvalidStatus) as refused,
            connect("ws" + url.removeprefix("http"), additional_headers={"x-auth-token": token}),
        ):
            raise AssertionError("the socket opened")
        assert refused.value.response.status_code == 401


def test_management_s_only_socket_is_the_chat() -> None:
    """Only the session decides whose conversation it is; a second socket would need its own
    test."""
    sockets = [
        route.path
        for router in ROUTERS
        for route in router.routes
        if isinstance(route, APIWebSocketRoute)
    ]
    assert sockets == ["/api/chat"]


def test_a_container_s_token_is_its_own_user_s_and_opens_nothing_else(
    tenants: Tenants, stack: Stack
) -> None:
    token = {"Authorization": f"Bearer {tenants.second_token}"}
    request = {"model": "default", "messages": [{"role": "user", "content": "mine"}]}
    with httpx2.Client(timeout=60, trust_env=False, headers=token) as container:
        answer = container.post(f"{stack.url}/llm/v1/chat/completions", json=request)
        assert answer.status_code == 200, answer.text
        for path in ("/api/me", "/api/secrets", "/api/agent", "/api/admin/users"):
            assert container.get(stack.url + path).status_code == 401
        assert container.get(f"{stack.agent_url}/api/containers").status_code == 401


def test_secrets_are_nowhere_in_the_logs(tenants: Tenants, stack: Stack) -> None:
    cookies = [*tenants.first.cookies.values(), *tenants.second.cookies.values()]
    hidden = [SECRET, tenants.second_token, stack.auth_token, *cookies]
    logs = list((stack.data / "logs").iterdir())
    assert logs
    for log in logs:
        text = log.read_text(errors="replace")
        for secret in hidden:
            assert secret not in text, log.name
    assert json.dumps(stack.status()).count(stack.auth_token) == 0
