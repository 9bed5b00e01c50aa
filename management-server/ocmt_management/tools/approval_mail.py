"""Mails users about calls that wait for their decision. Mail is not encrypted: no arguments."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from email.message import EmailMessage

from ocmt_management.auth.service import email_addresses_of
from ocmt_management.db import after_commit
from ocmt_management.mail.service import MailQueue, link_mail
from ocmt_management.tools.approval_models import ToolApproval
from ocmt_management.tools.approval_store import ApprovalStore

_AT_MOST_EVERY = timedelta(minutes=10)
_LISTED = 10
_NAME_CHARACTERS = 60


class ApprovalMail:
    """`link` is the address of the page that shows the waiting calls."""

    def __init__(self, store: ApprovalStore, queue: MailQueue, *, link: str) -> None:
        self._store = store
        self._queue = queue
        self._link = link
        self._mailed_at: dict[str, datetime] = {}

    async def remind(self, user_id: str) -> None:
        """Send the user one mail about all waiting calls, at most every ten minutes."""
        async with self._store.changing(user_id) as mine:
            rows = await mine.rows.to_mail(user_id, mine.now)
            last = self._mailed_at.get(user_id)
            if last is not None and mine.now - last < _AT_MOST_EVERY:
                for row in rows:
                    await mine.rows.note(row, mail_at=last + _AT_MOST_EVERY)
                return
            # Before the mail is sent: a crash in between costs a mail, and never sends it twice.
            for row in rows:
                await mine.rows.note(row, mail_at=None)
            address = (await email_addresses_of(mine.session, [user_id])).get(user_id)
            if not rows or address is None or not await mine.is_active():
                return
            mail = approval_mail(to=address, rows=rows, link=self._link)
            within = min(row.expires_at for row in rows) - mine.now
            after_commit(mine.session, lambda: self._queue.post(mail, within=within))
            self._mailed_at[user_id] = mine.now


def approval_mail(*, to: str, rows: Sequence[ToolApproval], link: str) -> EmailMessage:
    calls = "\n".join(
        f"- {_plain(row.tool)} of {_plain(row.server)} (number {row.number})"
        for row in rows[:_LISTED]
    )
    more = f"\n- and {len(rows) - _LISTED} more" if len(rows) > _LISTED else ""
    until = min(row.expires_at for row in rows)
    return link_mail(
        to=to,
        subject="Your agent is waiting for your decision",
        before="Your agent wants to use a tool that it may not use without your decision:\n\n"
        f"{calls}{more}\n\nSee the details, and decide:",
        link=link,
        after="A call that you do not decide on does not run. The first expires on "
        f"{until:%d %B, %H:%M} UTC.",
    )


def _plain(name: str) -> str:
    """Remove characters that a mail program could turn into a link: a server chose the name."""
    kept = "".join(c if c.isalnum() or c in " _-" else " " for c in name)
    return kept[:_NAME_CHARACTERS]
