"""The audit trail for admins and operators, with the addresses of users that still exist."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from ocmt_management.admin.schemas import AuditRow
from ocmt_management.audit.service import AuditEvent, trail
from ocmt_management.auth.service import email_addresses_of
from ocmt_management.db import Database


async def rows(session: AsyncSession, events: Sequence[AuditEvent]) -> list[AuditRow]:
    user_ids = {event.actor for event in events} | {event.user_id for event in events}
    emails = await email_addresses_of(session, user_ids)
    return [
        AuditRow(
            id=event.id,
            at=event.at,
            action=event.action,
            actor=event.actor,
            actor_email=emails.get(event.actor),
            user_id=event.user_id,
            user_email=emails.get(event.user_id),
            subject=event.subject,
            detail=event.detail,
            client=event.client,
        )
        for event in events
    ]


async def exported(
    database: Database, *, since: datetime | None = None, user_id: str | None = None
) -> AsyncIterator[Sequence[AuditRow]]:
    """The audit trail in batches, oldest first; `since` and `user_id` restrict it."""
    async for events in trail(database, since=since, user_id=user_id):
        async with database.read() as session:
            batch = await rows(session, events)
        yield batch


def json_lines(batch: Sequence[AuditRow]) -> str:
    return "".join(f"{row.model_dump_json(by_alias=True)}\n" for row in batch)


def as_text(row: AuditRow) -> str:
    """One line for a terminal: time, action, actor, user, subject, detail, client."""
    by = row.actor_email or row.actor
    about = row.user_email or row.user_id
    words = [f"{row.at:%Y-%m-%d %H:%M:%S}Z", f"{row.action:<26}", f"by {by}"]
    if about and about != by:
        words.append(f"for {about}")
    words += [text for text in (row.subject, row.detail) if text and text not in (about, by)]
    if row.client:
        words.append(f"from {row.client}")
    # A client chose some of this text: control characters must not reach the terminal.
    return "".join(c if c.isprintable() else "\ufffd" for c in "  ".join(words))
