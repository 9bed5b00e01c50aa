"""The routes that agent servers on other hosts may use: models and tools."""

from ocmt_common.problems import Problem
from starlette.types import ASGIApp, Receive, Scope, Send

_REACHABLE = ("/llm/", "/mcp/")


def hosts_app(app: ASGIApp) -> ASGIApp:
    """Wrap `app` to serve /llm and /mcp only; other paths answer 404."""

    async def only_for_agents(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and f"{scope['path']}/".startswith(_REACHABLE):
            await app(scope, receive, send)
            return
        problem = Problem(404, "no-such-path", "Agent servers can use only /llm and /mcp here.")
        await problem.response()(scope, receive, send)

    return only_for_agents
