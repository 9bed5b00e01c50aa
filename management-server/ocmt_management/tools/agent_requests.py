"""Shared by both endpoints for agents: authenticate the caller, decide whether a call may run."""

import time
from contextlib import suppress

from ocmt_common.loopback import is_loopback
from ocmt_common.problems import Problem
from ocmt_common.web import USER_IN_SCOPE
from starlette.requests import Request
from yarl import URL

from ocmt_management.tools import trouble
from ocmt_management.tools.approval_results import given_up
from ocmt_management.tools.calls import ToolCall, changed
from ocmt_management.tools.held_requests import digest_of, given_up_by
from ocmt_management.tools.messages import Message
from ocmt_management.tools.models import Rule
from ocmt_management.tools.service import Tools
from ocmt_management.tools.snapshot import Tool, UserTools

CLIENT_CLOSED_REQUEST = 499
"""nginx's status; only the access log shows it."""


async def caller_of(request: Request, tools: Tools) -> UserTools:
    """The tools of the calling agent's user.

    Raises a 401 `Problem`, the same for every invalid token, or a 403 for another site's page.
    """
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    caller = await tools.caller(token) if scheme.lower() == "bearer" else None
    if caller is None:
        raise Problem(
            401,
            "agent-token-wrong",
            "Send the agent token of an active user's agent as bearer token.",
        )
    _check_origin(request, tools)
    request.scope[USER_IN_SCOPE] = caller.user_id
    return caller


def _check_origin(request: Request, tools: Tools) -> None:
    """Raise a 403 `Problem` if there is an `Origin` that is neither ours nor a loopback address.

    Agents send none.
    """
    origin = request.headers.get("origin")
    if origin is None or origin in tools.origins:
        return
    try:
        host = URL(origin).host
    except ValueError:
        host = None
    if not is_loopback(host):
        raise Problem(403, "cross-site", "Pages of other sites may not call tools.")


async def instead_of_running(
    tools: Tools, tool: Tool, arguments: bytes, message: Message, *, path: str = ""
) -> bytes | None:
    """The result of a call that does not run here, because it is denied or needs a decision.

    Returns `None` if the caller must run the call. `path` is the server's slug at its own path.
    """
    started = time.monotonic()
    name = tool.connection.name
    if tool.rule is Rule.DENY:
        tools.calls.record(tool, arguments, "denied", started)
        return trouble.error_result(
            f"{tool.name} of {name} is denied by a rule. Do not call it again; its person can see "
            "the rule under Tools."
        )
    if tool.pin is None:
        return trouble.error_result(changed(tool.name))
    if tool.connection.lacks_credential:
        return trouble.error_result(trouble.credential_missing(name).text)
    if tool.rule is Rule.ALLOW:
        return None
    tools.calls.record(tool, arguments, "asked", started)
    if tools.approvals is None:
        return trouble.error_result(
            f"{tool.name} of {name} has to be allowed first. Ask your person to set its rule to "
            "allow under Tools."
        )
    request = digest_of(path, bytes(message.id))
    holding = tools.approvals.hold(
        call_of(tool, arguments),
        rules_version=tool.rules_version,
        account_version=tool.connection.account_version,
        request=request,
    )
    outcome = await tools.held_requests.hold(tool.connection.user_id, request, holding)
    return outcome or given_up()


async def note_given_up(tools: Tools, user_id: str, path: str, message: Message) -> None:
    """End the wait for a decision, here or in another process, if the agent gave its request up."""
    request = given_up_by(path, message)
    if request is None or tools.held_requests.given_up(user_id, request):
        return
    if tools.approvals is not None:
        with suppress(Problem):  # the database is away: the wait ends after its 45 s
            await tools.approvals.given_up(user_id, request)


def call_of(tool: Tool, arguments: bytes) -> ToolCall:
    return ToolCall(
        user_id=tool.connection.user_id,
        server_id=tool.connection.server_id,
        tool=tool.name,
        arguments=arguments,
        pin=tool.pin or b"",
    )
