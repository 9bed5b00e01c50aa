"""Gives out access tokens, with one refresh at a time for each connection, across processes.

A refresh begins with a lease: one conditional UPDATE, which one process wins and commits before it
sends anything. Within a process all callers share one flight. New tokens are stored, however late
they come, if the row still has the old ones. If a process dies in between, the lease ends, and the
next caller refreshes; if the provider rotated the refresh token by then, the person has to
reconnect.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from uuid import uuid4

import structlog
from ocmt_common.problems import Problem
from sqlalchemy.ext.asyncio import AsyncSession

from ocmt_management.audit.service import Audit
from ocmt_management.clock import Clock
from ocmt_management.db import Database
from ocmt_management.integrations.broken_mail import BrokenMail
from ocmt_management.integrations.models import ConnectedAccount, ConnectionState
from ocmt_management.integrations.oauth_http import NoAnswer, OAuthHttp
from ocmt_management.integrations.oauth_protocol import (
    Client,
    Refused,
    Tokens,
    read_tokens,
    refresh_request,
    revocation_requests,
)
from ocmt_management.integrations.operator_clients import OperatorClients, client_for
from ocmt_management.integrations.provider_schema import Provider
from ocmt_management.integrations.repository import IntegrationRepository
from ocmt_management.integrations.stored_tokens import (
    StoredTokens,
    provider_of,
    standing_of,
    tokens_of,
)
from ocmt_management.integrations.token_state import (
    LEASE,
    Failure,
    Step,
    failure_of,
    next_step,
)
from ocmt_management.vault.service import KeyRing, SecretValue, Vault

log = structlog.get_logger(__name__)

_POLL_S = 0.2
_RETRY_STORE_S = 1.0
_AFTER_FAILURE = timedelta(seconds=5)
"""After a failure this process does not refresh the same tokens for so long."""
_MAX_ROUNDS = 5
_CLOSE_WITHIN_S = 10


class ConnectionTrouble(Exception):
    """No token now. `str()` is for the agent and its person; `broken`: only a person can help."""

    def __init__(self, text: str, *, broken: bool = False) -> None:
        super().__init__(text)
        self.broken = broken


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """An access token that its provider should accept."""

    connection_id: str
    token: SecretValue
    version: int
    provider: Provider
    account: str

    @property
    def name(self) -> str:
        return f"{self.provider.name} ({self.account})"


ClientsOf = Callable[..., OperatorClients]


class Refresher:
    """`close` it at the end."""

    def __init__(
        self,
        *,
        database: Database,
        keys: KeyRing,
        clock: Clock,
        http: OAuthHttp,
        clients: ClientsOf,
        redirect_uri: str,
        mail: BrokenMail,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._database = database
        self._keys = keys
        self._clock = clock
        self._http = http
        self._clients = clients
        self._redirect_uri = redirect_uri
        self._mail = mail
        self._sleep = sleep
        self._flights: dict[str, asyncio.Task[None]] = {}
        self._failed: dict[str, tuple[datetime, int, ConnectionTrouble]] = {}

    async def access(
        self, user_id: str, connection_id: str, *, refused_version: int | None = None
    ) -> Access:
        """A token to use now. Raises `ConnectionTrouble`, or `Problem` of this server's own.

        `refused_version`: the provider rejected the token of this version, so it is refreshed.
        """
        for _ in range(_MAX_ROUNDS):
            row, stored = await self._read(user_id, connection_id)
            standing = standing_of(row)
            now = self._clock()
            step = next_step(standing, now, refused_version=refused_version)
            if step is Step.BROKEN:
                raise await self._broken(row)
            if step is Step.REFRESH:
                failed = self._failure(row, now)
                if failed is not None:
                    if standing.usable(now) and row.token_version != refused_version:
                        return _access(row, stored)
                    raise failed
            if step is Step.USE:
                return _access(row, stored)
            try:
                await self._flight(row, refused_version)
            except ConnectionTrouble:
                if standing.usable(self._clock()) and row.token_version != refused_version:
                    return _access(row, stored)
                raise
        raise ConnectionTrouble(
            "Its access token kept changing while it was refreshed. Try again in a minute."
        )

    async def close(self) -> None:
        """Wait for refreshes to end, at most 10 s: otherwise their tokens would be lost."""
        tasks = list(self._flights.values())
        if not tasks:
            return
        _, late = await asyncio.wait(tasks, timeout=_CLOSE_WITHIN_S)
        for task in late:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _read(
        self, user_id: str, connection_id: str
    ) -> tuple[ConnectedAccount, StoredTokens]:
        async with self._database.read() as session:
            row = await IntegrationRepository(session).connection(user_id, connection_id)
            if row is None:
                raise ConnectionTrouble("It is not connected any more.", broken=True)
            return row, await tokens_of(Vault(session, self._keys, self._clock), row)

    def _failure(self, row: ConnectedAccount, now: datetime) -> ConnectionTrouble | None:
        until, version, trouble = self._failed.get(row.id, (now, -1, None))
        if trouble is None or version != row.token_version or now >= until:
            self._failed.pop(row.id, None)
            return None
        return trouble

    async def _flight(self, row: ConnectedAccount, refused_version: int | None) -> None:
        task = self._flights.get(row.id)
        if task is None:
            task = self._flights[row.id] = asyncio.create_task(self._refresh(row, refused_version))
            task.add_done_callback(partial(self._landed, row.id))
        # One caller that leaves must not end it for the others.
        await asyncio.shield(task)

    def _landed(self, connection_id: str, task: asyncio.Task[None]) -> None:
        del self._flights[connection_id]
        if not task.cancelled():
            task.exception()  # each caller got it; one that left did not want it

    # One flight

    async def _refresh(self, row: ConnectedAccount, refused_version: int | None) -> None:
        """Refresh, or wait for the process that does. The caller then reads the row again.

        Raises `ConnectionTrouble` or `Problem`.
        """
        attempt = str(uuid4())
        now = self._clock()
        async with self._database.write() as session:
            taken = await IntegrationRepository(session).take_lease(
                row.user_id,
                row.id,
                version=row.token_version,
                by=attempt,
                now=now,
                until=now + LEASE,
            )
        if not taken:
            await self._wait(row, refused_version)
            return
        try:
            await self._refresh_with_lease(row, attempt)
        except BaseException as error:
            with suppress(Problem):
                async with self._database.write() as session:
                    await IntegrationRepository(session).release_lease(
                        row.user_id, row.id, by=attempt
                    )
            if isinstance(error, ConnectionTrouble):
                until = self._clock() + _AFTER_FAILURE
                self._failed[row.id] = (until, row.token_version, error)
            raise

    async def _refresh_with_lease(self, row: ConnectedAccount, attempt: str) -> None:
        async with self._database.read() as session:
            stored = await tokens_of(Vault(session, self._keys, self._clock), row)
            client = stored.client
            provider = provider_of(row)
            if client is None:
                registered = await self._clients(session).get(row.provider)
                client = client_for(provider, registered)
                if client is None and registered is not None:
                    # An admin changed the endpoints; the secret is not for the old ones.
                    await self._believe(row, attempt)
                    return
        if client is None or provider.oauth is None or stored.refresh is None:
            raise ConnectionTrouble(
                f"{provider.name} has no client at this installation any more. Ask an admin to set "
                "it up again under Settings."
            )
        request = refresh_request(
            provider.oauth, client, refresh=stored.refresh, redirect_uri=self._redirect_uri
        )
        try:
            answer = await self._http.send(request)
        except NoAnswer as error:
            raise ConnectionTrouble(
                f"{provider.name} could not be asked for a new token now ({error}). Try again in a "
                "minute."
            ) from error
        found = read_tokens(provider.oauth, answer.body, now=self._clock())
        if isinstance(found, Tokens):
            await self._store(row, stored, found, provider, client)
            return
        await self._failed_with(row, provider, found, attempt)

    async def _store(
        self,
        row: ConnectedAccount,
        before: StoredTokens,
        found: Tokens,
        provider: Provider,
        client: Client,
    ) -> None:
        """Store new tokens; retry on each `Problem`, since nothing else has the tokens.

        If the connection or its user was deleted meanwhile, revoke them instead.
        """
        # A provider that does not rotate its refresh token sends none back.
        refresh = found.refresh or before.refresh
        tokens = StoredTokens(access=found.access, refresh=refresh, client=before.client)
        values: dict[str, object] = {
            "refreshable": True,
            "expires_at": found.expires_at,
            "state": ConnectionState.OK,
            "trouble": None,
        }
        if found.scopes is not None:
            values["scopes"] = " ".join(found.scopes)
        while True:
            try:
                async with self._database.write() as session:
                    vault = Vault(session, self._keys, self._clock)
                    sealed = await tokens.seal(vault, row.user_id, row.id)
                    stored = await IntegrationRepository(session).store_tokens(
                        row.user_id, row.id, version=row.token_version, tokens=sealed, **values
                    )
                break
            except Problem as problem:
                if problem.code == "user-unknown":
                    stored = False
                    break
                log.warning("refreshed tokens not stored yet", reason=problem.detail)
            await self._sleep(_RETRY_STORE_S)
        self._failed.pop(row.id, None)
        if not stored and provider.oauth is not None and await self._is_gone(row):
            # Disconnected meanwhile: nothing may be left that still works.
            for request in revocation_requests(
                provider.oauth, client, access=found.access, refresh=found.refresh
            ):
                with suppress(NoAnswer):
                    await self._http.send(request)

    async def _is_gone(self, row: ConnectedAccount) -> bool:
        async with self._database.read() as session:
            return await IntegrationRepository(session).connection(row.user_id, row.id) is None

    async def _failed_with(
        self, row: ConnectedAccount, provider: Provider, refused: Refused, attempt: str
    ) -> None:
        errors = () if provider.oauth is None else provider.oauth.grant_errors
        failure = failure_of(refused.error, errors)
        log.warning(
            "token not refreshed", provider=row.provider, failure=failure, error=refused.error
        )
        if failure is Failure.GRANT:
            await self._believe(row, attempt)
            return
        if failure is Failure.CLIENT:
            text = (
                f"{provider.name} rejects this installation's client, so the token could not be "
                "renewed. Ask an admin to check client id and secret under Settings."
            )
            async with self._database.write() as session:
                await IntegrationRepository(session).note(row.user_id, row.id, trouble=text)
            raise ConnectionTrouble(text)
        raise ConnectionTrouble(
            f"{provider.name} gave no new token now ({refused.detail}). Try again in a minute."
        )

    async def _believe(self, row: ConnectedAccount, attempt: str) -> None:
        """Mark the connection broken, unless another refresh has changed the row."""
        async with self._database.write() as session:
            now = await IntegrationRepository(session).connection_for_change(row.user_id, row.id)
            if now is None or now.token_version != row.token_version or now.lease_by != attempt:
                return
            await self._mark_broken(session, now)

    async def _broken(self, row: ConnectedAccount) -> ConnectionTrouble:
        async with self._database.write() as session:
            now = await IntegrationRepository(session).connection_for_change(row.user_id, row.id)
            if now is not None and now.token_version == row.token_version:
                await self._mark_broken(session, now)
        return ConnectionTrouble(
            f"{provider_of(row).name} ({row.account}) has to be connected again by its person, "
            "under Connections.",
            broken=True,
        )

    async def _mark_broken(self, session: AsyncSession, row: ConnectedAccount) -> None:
        """Change the state, once: the person is mailed by the change, not by each failed call."""
        if row.state == ConnectionState.RECONNECT:
            return
        await IntegrationRepository(session).change(
            row,
            state=ConnectionState.RECONNECT,
            lease_by=None,
            lease_until=None,
            trouble="The provider does not accept its tokens any more: they expired or were "
            "revoked there. Connect it again.",
        )
        Audit(session, self._clock).record(
            "connection.broken", user_id=row.user_id, actor="server", subject=row.provider
        )
        await self._mail.post(session, row)

    async def _wait(self, row: ConnectedAccount, refused_version: int | None) -> None:
        """Wait until the other process's refresh has ended or failed, at most for `LEASE`."""
        until = self._clock() + LEASE
        while self._clock() < until:
            await self._sleep(_POLL_S)
            async with self._database.read() as session:
                now = await IntegrationRepository(session).connection(row.user_id, row.id)
            if now is None or now.token_version != row.token_version:
                return
            step = next_step(standing_of(now), self._clock(), refused_version=refused_version)
            if step is not Step.WAIT:
                return


def _access(row: ConnectedAccount, stored: StoredTokens) -> Access:
    return Access(
        connection_id=row.id,
        token=stored.access,
        version=row.token_version,
        provider=provider_of(row),
        account=row.account,
    )
