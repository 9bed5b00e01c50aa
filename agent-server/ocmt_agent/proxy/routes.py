"""The proxy's two routes: plain ASGI endpoints, because nothing may stand between the bytes."""

import aiohttp
from starlette.routing import BaseRoute, Route, WebSocketRoute

from ocmt_agent.gateway.admin import GatewayAdmin
from ocmt_agent.gateway.pairing import GatewayLinks
from ocmt_agent.proxy.agent_access import Waking
from ocmt_agent.proxy.http import HttpProxy
from ocmt_agent.proxy.websocket import SocketProxy

PATH = "/api/containers/{user_id}/proxy/{path:path}"


def proxy_routes(
    waking: Waking, session: aiohttp.ClientSession, admin: GatewayAdmin, *, max_body_bytes: int
) -> list[BaseRoute]:
    """Both routes; the application checks the caller's token before they are reached."""
    return [
        Route(PATH, HttpProxy(waking, session, max_body_bytes=max_body_bytes)),
        WebSocketRoute(PATH, SocketProxy(waking, GatewayLinks(session, admin))),
    ]
