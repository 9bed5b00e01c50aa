"""The proxy's routes, for HTTP and WebSockets: plain ASGI endpoints, which buffer no bodies."""

import aiohttp
from starlette.routing import BaseRoute, Route, WebSocketRoute

from ocmt_agent.gateway.admin import GatewayAdmin
from ocmt_agent.gateway.pairing import GatewayLinks
from ocmt_agent.proxy.awake_agents import AwakeAgents
from ocmt_agent.proxy.http import HttpProxy
from ocmt_agent.proxy.websocket import SocketProxy

PATH = "/api/containers/{user_id}/proxy/{path:path}"


def proxy_routes(
    agents: AwakeAgents, session: aiohttp.ClientSession, admin: GatewayAdmin, *, max_body_bytes: int
) -> list[BaseRoute]:
    """Both routes. The application's middleware has already authenticated the caller."""
    return [
        Route(PATH, HttpProxy(agents, session, max_body_bytes=max_body_bytes)),
        WebSocketRoute(PATH, SocketProxy(agents, GatewayLinks(session, admin))),
    ]
