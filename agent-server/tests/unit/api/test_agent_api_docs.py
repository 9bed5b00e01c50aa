"""`docs/agent-api.md` and the API list the same routes and codes."""

import ast
import re
from pathlib import Path

import ocmt_agent
from ocmt_agent.api import endpoints, file_endpoints, tool_server_endpoints
from ocmt_agent.auth import OPEN_PATHS
from ocmt_agent.proxy.routes import PATH as PROXY_PATH
from ocmt_common.agent_api import HibernationState, ToolServerState
from starlette.routing import Route

ROOT = Path(__file__).resolve().parents[4]
PAGE = (ROOT / "docs" / "agent-api.md").read_text(encoding="utf-8")


def routes() -> set[tuple[str, str]]:
    served = {("ANY", PROXY_PATH.replace("{path:path}", "{path}")), ("WebSocket", PROXY_PATH)}
    served = {(m, p.replace("{path:path}", "{path}")) for m, p in served}
    routers = (endpoints.router, tool_server_endpoints.router, file_endpoints.router)
    for route in (route for router in routers for route in router.routes):
        assert isinstance(route, Route)
        served |= {(method, route.path) for method in route.methods or ()}
    names = {"{user_id}": "{userId}", "{server_id}": "{serverId}", "{job_id}": "{jobId}"}
    return {(m, _renamed(p, names)) for m, p in served if m != "HEAD"}


def _renamed(path: str, names: dict[str, str]) -> str:
    for ours, shown in names.items():
        path = path.replace(ours, shown)
    return path


def test_every_route_is_on_the_page_and_the_page_has_no_other() -> None:
    headings = re.findall(r"^### `(\S+) (\S+)`", PAGE, flags=re.MULTILINE)
    assert set(headings) == routes()
    assert len(headings) == len(set(headings))


def test_every_problem_code_is_on_the_page_and_the_page_has_no_other() -> None:
    table = PAGE.partition("## Problems")[2]
    listed = set(re.findall(r"^\| `([a-z-]+)` \|", table, flags=re.MULTILINE))
    assert listed == raised_codes()


def raised_codes() -> set[str]:
    """The codes in the server's sources: the second argument of each `Problem(…)`."""
    codes = {
        *("body-too-large", "invalid-request", "internal-error"),  # common's own
        *("headers-too-large", "request-too-slow"),
    }
    for source in Path(ocmt_agent.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            if name in ("Problem", "_fail"):
                codes |= {
                    a.value
                    for a in node.args
                    if isinstance(a, ast.Constant)
                    and isinstance(a.value, str)
                    and re.fullmatch(r"[a-z]+(-[a-z]+)+", a.value)
                }
    return codes


def test_every_state_is_on_the_page() -> None:
    for state in (*HibernationState, *ToolServerState):
        assert re.search(rf"^\| `{state}` \|", PAGE, flags=re.MULTILINE), state


def test_the_page_lists_the_open_routes() -> None:
    for path in OPEN_PATHS:
        assert f"`{path}`" in PAGE.partition("###")[0]
