"""`ANY /api/containers/{userId}/proxy/{path}`: wakes an agent and forwards a request to it."""

import aiohttp
import structlog
from ocmt_common.problems import Problem
from ocmt_common.user_ids import is_user_id
from starlette.types import Receive, Scope, Send
from yarl import URL

from ocmt_agent.decisions.activity import ActivityKind
from ocmt_agent.proxy.awake_agents import AwakeAgents
from ocmt_agent.proxy.forwarding import AnswerBroken, CallerLeft, RequestBody, Unreachable, pass_on
from ocmt_agent.proxy.headers import with_our_bearer
from ocmt_agent.proxy.paths import gateway_path, plain_query

log = structlog.get_logger(__name__)

_IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"})


def user_of(scope: Scope) -> str:
    user_id: str = scope["path_params"]["user_id"]
    if not is_user_id(user_id):
        raise Problem(404, "no-such-agent", "This user has no agent here.")
    return user_id


class HttpProxy:
    """An ASGI endpoint; the caller is already authenticated."""

    def __init__(
        self, agents: AwakeAgents, session: aiohttp.ClientSession, *, max_body_bytes: int
    ) -> None:
        self._agents = agents
        self._session = session
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            user_id = user_of(scope)
            target = gateway_path(scope["raw_path"], user_id=user_id) + plain_query(
                scope["query_string"]
            )
            body = RequestBody(scope, receive, max_bytes=self._max_body_bytes)
            await self._forward(scope, body, send, user_id=user_id, target=target)
        except Problem as problem:
            await problem.response()(scope, receive, send)
        except CallerLeft:
            return
        except AnswerBroken as broken:
            # Returning before the response is complete aborts the caller's connection, as intended.
            log.warning("the gateway's answer broke off", reason=str(broken))

    async def _forward(
        self, scope: Scope, body: RequestBody, send: Send, *, user_id: str, target: str
    ) -> None:
        for last in (False, True):
            async with self._agents.using(user_id, kind=ActivityKind.HTTP) as access:
                try:
                    await pass_on(
                        self._session,
                        scope,
                        body,
                        send,
                        url=URL(f"{access.endpoint.url}/{target}", encoded=True),
                        headers=with_our_bearer(scope["headers"], str(access.gateway_token)),
                    )
                    return
                except Unreachable as error:
                    self._agents.doubt(access)
                    log.warning("gateway did not answer", user_id=user_id, reason=str(error))
                    untouched = body.taken == 0 and scope["method"] in _IDEMPOTENT
                    if last or not (error.unsent or untouched):
                        raise Problem(
                            502,
                            "gateway-lost",
                            "The agent's gateway ended before it answered. Send the request again; "
                            "that restarts the gateway.",
                        ) from error
