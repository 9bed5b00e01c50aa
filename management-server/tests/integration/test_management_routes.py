"""Every route is documented, and every route but the open ones requires a session."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import httpx2
import pytest
from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute, APIWebSocketRoute
from ocmt_management.app import ROUTERS
from ocmt_management.auth.dependencies import CurrentUser, PresentUser
from ocmt_management.settings import ManagementSettings
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

API_PAGE = Path(__file__).parents[3] / "docs" / "management-api.md"

# What a signed-out caller may use. `/llm` and `/mcp` have a credential of their own: the agent
# token, whose absence is a 401 as well.
OPEN = {
    ("GET", "/health"),
    ("GET", "/metrics"),
    ("GET", "/api/start"),
    ("POST", "/api/auth/link"),
    ("POST", "/api/auth/link/account"),
    ("POST", "/api/auth/session"),
    ("GET", "/"),
    ("GET", "/sign-in"),
    ("GET", "/settings"),
    ("GET", "/tools"),
    ("GET", "/agent"),
    ("GET", "/admin"),
    ("GET", "/connections"),
    ("GET", "/c/{conversation}"),
    ("GET", "/{path}"),
    ("GET", "/api/connections/callback"),
    ("GET", "/api/connections/callback/{tag}"),
    ("GET", "/api/connections/client-metadata/{tag}"),
    ("GET", "/assets/{name}"),
    ("GET", "/{name}"),
}


def routes() -> set[tuple[str, str]]:
    """`(method, path)` of every route; `WS` for WebSockets; converters left out of paths."""
    found: set[tuple[str, str]] = set()
    for router in ROUTERS:
        for route in router.routes:
            assert isinstance(route, APIRoute | APIWebSocketRoute)
            path = re.sub(r":\w+}", "}", route.path)
            methods = (route.methods or ()) if isinstance(route, APIRoute) else {"WS"}
            found |= {(method, path) for method in methods if method != "HEAD"}
    return found


def documented() -> set[tuple[str, str]]:
    rows = re.findall(r"^\| `([A-Z, ]+) (/[^` ]*)`", API_PAGE.read_text(), re.MULTILINE)
    return {(method, path) for methods, path in rows for method in methods.split(", ")}


def test_every_route_is_documented_and_every_documented_route_is_there() -> None:
    assert routes() == documented()


def test_the_requests_that_do_not_extend_a_session_are_documented() -> None:
    (sentence,) = re.findall(r"counts as use, except (.+?\.)\s", API_PAGE.read_text(), re.DOTALL)
    listed = set(re.findall(r"`([A-Z]+) (/[^`]*)`", sentence))
    (present,), (current,) = get_args(PresentUser)[1:], get_args(CurrentUser)[1:]
    found = {
        (method, route.path)
        for router in ROUTERS
        for route in router.routes
        if isinstance(route, APIRoute)
        and present.dependency in (calls := calls_of(route.dependant))
        and current.dependency not in calls
        for method in route.methods or ()
    }
    assert listed == found | {("GET", "/api/start")}


def calls_of(dependant: Dependant) -> set[object]:
    """Every dependency of a route, and theirs."""
    return {dependant.call}.union(*map(calls_of, dependant.dependencies))


def test_the_open_routes_exist() -> None:
    assert routes() >= OPEN


@pytest.fixture
def settings(make_settings: Callable[..., ManagementSettings]) -> ManagementSettings:
    return make_settings()


@pytest.mark.parametrize(
    ("method", "path"), sorted(r for r in routes() - OPEN if r[0] != "WS"), ids=" ".join
)
async def test_a_signed_out_caller_gets_a_401(
    new_browser: Callable[[], httpx2.AsyncClient], method: str, path: str
) -> None:
    # A well-formed value for every parameter, so that only the missing session can be wrong.
    url = re.sub(r"{(\w+)}", lambda p: "0" * 8 + "-0000-4000-8000-" + "0" * 12, path)
    body = {"PUT": {"value": "x"}, "PATCH": {"status": "active"}}.get(method)

    answer = await new_browser().request(method, url, json=body)

    assert answer.status_code == 401, answer.text
    assert answer.json()["code"]


async def test_a_signed_out_socket_is_refused(app: FastAPI) -> None:
    browser = TestClient(app)

    for path in sorted(path for method, path in routes() if method == "WS"):
        with (
            pytest.raises(WebSocketDisconnect),
            browser.websocket_connect(
                f"ws://127.0.0.1:3000{path}", headers={"origin": "http://127.0.0.1:3000"}
            ),
        ):
            raise AssertionError(f"{path} was accepted")
