"""The rules for a user's tool, read within the caller's transaction.

Calls are served from a snapshot that may be seconds old; a decision must be checked against the
current rules.
"""

from collections.abc import Callable

from sqlalchemy.ext.asyncio import AsyncSession

from ocmt_management.db import after_commit
from ocmt_management.tools.calls import Standing
from ocmt_management.tools.models import DefinitionState, Rule
from ocmt_management.tools.repository import ToolRepository
from ocmt_management.tools.rules import always_refused, effective, version_of
from ocmt_management.tools.snapshot import rules_by_tool, rules_for, usable_definition


class RulePolicy:
    """Reads a tool's current standing, and stores "always allow".

    `changed` is called with the user's id after the commit.
    """

    def __init__(self, changed: Callable[[str], None]) -> None:
        self._changed = changed

    async def standing(
        self, session: AsyncSession, *, user_id: str, server_id: str, tool: str
    ) -> Standing:
        rows = ToolRepository(session)
        server = await rows.server_for(user_id, server_id)
        account = await rows.account(user_id, server_id)
        definition = await rows.definition(user_id, server_id, tool)
        admin, own = rules_for(rules_by_tool(await rows.rules(user_id)), server_id, tool)
        usable = None if definition is None else usable_definition(definition)
        if server is None or not server.enabled or account is None or definition is None:
            usable = None
        pin = None if usable is None else usable[1]
        state = DefinitionState.GONE if definition is None else DefinitionState(definition.state)
        return Standing(
            rule=effective(admin=admin, own=own, state=state, pin=pin),
            pin=pin,
            rules_version=version_of(admin=admin, own=own),
            account_version=0 if account is None else account.version,
            always_refused=(
                None if pin is None else always_refused(admin=admin, state=state, pin=pin)
            ),
        )

    async def allow_always(
        self, session: AsyncSession, *, user_id: str, server_id: str, tool: str, pin: bytes
    ) -> None:
        rows = ToolRepository(session)
        await rows.raise_version(user_id)
        await rows.set_rule(user_id, server_id, tool, Rule.ALLOW, pin)
        after_commit(session, lambda: self._changed(user_id))
