"""Mails a person whose connection broke, once, with the link that mends it."""

from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from ocmt_management.auth.service import email_addresses_of
from ocmt_management.db import after_commit
from ocmt_management.integrations.models import ConnectedAccount
from ocmt_management.integrations.stored_tokens import provider_of
from ocmt_management.mail.service import MailQueue, link_mail

_WITHIN = timedelta(days=1)


class BrokenMail:
    """`page` is the address of the page's view Connections; without `enabled` nothing is mailed."""

    def __init__(self, queue: MailQueue, *, page: str, enabled: bool) -> None:
        self._queue = queue
        self._page = page
        self._enabled = enabled

    async def post(self, session: AsyncSession, row: ConnectedAccount) -> None:
        """Mail after the commit that stores the new state."""
        address = (await email_addresses_of(session, [row.user_id])).get(row.user_id)
        if address is None or not self._enabled:
            return
        name = provider_of(row).name
        mail = link_mail(
            to=address,
            subject=f"Connect {_plain(name)} again",
            before=f"Your agent cannot use {_plain(name)} any more: the access that you gave it "
            "expired, or was taken back there. Connect it again, if you still want it:",
            link=self._page,
            after="Nothing else changes, and you get no further mail about it.",
        )
        after_commit(session, lambda: self._queue.post(mail, within=_WITHIN))


def _plain(name: str) -> str:
    """A name without characters of which a mail program could make a link."""
    return "".join(c if c.isalnum() or c in " _-" else " " for c in name)[:60]
