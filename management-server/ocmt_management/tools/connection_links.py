"""Links by which a person connects what a task of their agent lacks, for `ocmt_link_for_person`."""

from collections.abc import Iterable
from urllib.parse import urlencode

from ocmt_management.db import Database
from ocmt_management.integrations.service import API_KEY, Integrations
from ocmt_management.tools.approval_results import text_result
from ocmt_management.tools.connection_requests import ConnectionRequests
from ocmt_management.tools.models import AccountState, Transport, Wanted
from ocmt_management.tools.repository import ToolRepository


class ConnectionLinks:
    """`tools_page` is the address of the page's Tools view."""

    def __init__(
        self,
        *,
        database: Database,
        integrations: Integrations,
        requests: ConnectionRequests,
        tools_page: str,
    ) -> None:
        self._database = database
        self._integrations = integrations
        self._requests = requests
        self._tools_page = tools_page

    async def to_account(self, user_id: str, provider: object) -> bytes:
        """A link to connect an account, at one provider if it is named by id or name."""
        page = self._integrations.page
        if provider is None:
            mark = await self._requests.add(user_id, Wanted.ACCOUNT, "")
            return _link(page, mark)
        async with self._database.read() as session:
            ready = await self._integrations.clients(session).registered()
        names = {one: found.provider.name for one, found in ready.items()} | {API_KEY: "API key"}
        asked = provider.strip().casefold() if isinstance(provider, str) else ""
        found = [one for one, name in names.items() if asked in (one, name.casefold())]
        if not found:
            return text_result(
                f"It cannot be connected here. Give `provider`: one of {_listed(names.values())}. "
                "An admin can set up more, under Settings.",
                error=True,
            )
        mark = await self._requests.add(user_id, Wanted.ACCOUNT, found[0])
        return _link(f"{page}?{urlencode({'provider': found[0]})}", mark)

    async def to_server(self, user_id: str, server: object) -> bytes:
        """A link to connect a tool server or mend its connection."""
        if server is None:
            return text_result(self._tools_page)
        async with self._database.read() as session:
            rows = ToolRepository(session)
            servers = [s for s in await rows.servers_for(user_id) if s.transport != Transport.API]
            asked = server.strip().casefold() if isinstance(server, str) else ""
            found = next((s for s in servers if asked in (s.slug, s.name.casefold())), None)
            account = None if found is None else await rows.account(user_id, found.id)
        if found is None:
            return text_result(
                f"There is no such server. Give `server`: one of {_listed(s.name for s in servers)}"
                f"; or give your person this link, to add one: {self._tools_page}",
                error=True,
            )
        if account is not None and account.listed_at is not None:
            works = account.state == AccountState.OK and account.trouble is None
            if works:
                return text_result(f"{found.name} is connected already. Call its tools.")
        mark = await self._requests.add(user_id, Wanted.SERVER, found.id)
        return _link(self._tools_page, mark)


def _link(link: str, mark: str) -> bytes:
    return text_result(
        f"Give your person this link: {link}\nDo not wait and do not ask again. When they have "
        "connected it, within a day, a message in this conversation says so, and you go on. "
        f"{mark}"
    )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"
