"""Calls the HTTP API of a connected account, with its token added here."""

from ocmt_management.integrations.service import (
    Answer,
    ConnectionTrouble,
    HttpRequest,
    Integrations,
    NoAnswer,
)
from ocmt_management.tools import trouble
from ocmt_management.tools.account_tokens import trouble_of
from ocmt_management.tools.api_request import (
    CHANGE,
    MAX_ANSWER_BYTES,
    TIMEOUT_S,
    ApiCall,
    ApiRefused,
    read_call,
    result_of,
    with_credential,
)
from ocmt_management.tools.connection import Connection
from ocmt_management.tools.trouble import Kind, Trouble


class ApiCalls:
    def __init__(self, integrations: Integrations, private_hosts: frozenset[str]) -> None:
        self._integrations = integrations
        self._private_hosts = private_hosts

    async def call(self, connection: Connection, tool: str, arguments: bytes) -> bytes:
        """A `CallToolResult`. `tool` is the one whose rule was applied. Raises `Trouble`."""
        try:
            access = await self._integrations.access(connection.user_id, connection.server_id)
            api = access.provider.api
            if api is None:
                raise ApiRefused(f"{connection.name} has no HTTP API.")
            call = read_call(arguments, api, private_hosts=self._private_hosts)
            if call.tool != tool:
                raise ApiRefused("The method is not the one that was allowed.")
            answer = await self._send(connection, call, with_credential(call, api, access.token))
            if answer.status == 401:
                renewed = await self._integrations.renewed(connection.user_id, access)
                if renewed is not None:
                    access = renewed
                    request = with_credential(call, api, access.token)
                    answer = await self._send(connection, call, request)
        except ApiRefused as refused:
            return trouble.error_result(str(refused))
        except ConnectionTrouble as problem:
            raise trouble_of(connection, problem) from problem
        what = f"{call.method} {call.url.partition('://')[2].partition('?')[0]}"
        await self._integrations.used(connection.user_id, connection.server_id, what)
        return result_of(answer, access.token)

    async def _send(self, connection: Connection, call: ApiCall, request: HttpRequest) -> Answer:
        try:
            return await self._integrations.http.send(
                request, timeout_s=TIMEOUT_S, max_bytes=MAX_ANSWER_BYTES, cut=True
            )
        except NoAnswer as error:
            may_have = (
                " It may have had its effect there; check before you repeat it."
                if error.sent and call.tool == CHANGE
                else ""
            )
            raise Trouble(
                Kind.UNREACHABLE, f"{connection.name} could not be called: {error}.{may_have}"
            ) from error
