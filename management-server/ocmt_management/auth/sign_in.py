"""Signing in by magic link.

Opening a link only shows it; a POST uses it, once. A link signs in the browser that requested it.
In any other browser it shows six digits to type into the requesting one, so that a link opened
elsewhere (by a mail scanner, a thief or a tricked user) starts no session there.
"""

import hmac
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import structlog
from ocmt_common.problems import Problem
from sqlalchemy.ext.asyncio import AsyncSession

from ocmt_management.audit.service import STRANGER, Audit, AuditThrottle
from ocmt_management.auth.allow_list import AllowList
from ocmt_management.auth.cookies import LINK_LIFE
from ocmt_management.auth.links import add_link, link_address
from ocmt_management.auth.mail_templates import sign_in_mail
from ocmt_management.auth.models import Role, SignInLink, Status, User, WaitingBrowser
from ocmt_management.auth.repository import InvitationRepository, LinkRepository, UserRepository
from ocmt_management.auth.sessions import Sessions
from ocmt_management.clock import Clock
from ocmt_management.db import Database, after_commit
from ocmt_management.email_addresses import domain
from ocmt_management.mail.service import MailQueue
from ocmt_management.settings import ManagementSettings
from ocmt_management.tokens import KeyedHash, is_token, new_code

log = structlog.get_logger(__name__)

_READING_TIME = timedelta(minutes=1)
LINKS_PER_ADDRESS = 3
"""Most unused links of an address, each valid for ten minutes; this bounds the mails to it."""
CODES_PER_LINK = 5
TRIES_PER_LINK = 5
LOCAL_ADMIN = "admin@localhost"


@dataclass(frozen=True, slots=True)
class SignedIn:
    user: User
    session_token: str


@dataclass(frozen=True, slots=True)
class CodeShown:
    """The result of using a link in another browser: digits to type into the requesting one."""

    code: str


def link_invalid() -> Problem:
    """The error for every invalid link or code: the reason would only help an attacker."""
    return Problem(
        403,
        "link-invalid",
        "This link or code is wrong, has expired or was already used. Request a new link.",
    )


class SignIn:
    """Sign-in within one transaction."""

    def __init__(
        self,
        session: AsyncSession,
        *,
        settings: ManagementSettings,
        clock: Clock,
        mail_queue: MailQueue,
        sessions: Sessions,
        on_sign_in: Callable[[str], None],
        throttle: AuditThrottle,
    ) -> None:
        self._db = session
        self._links = LinkRepository(session)
        self._users = UserRepository(session)
        self._allow_list = AllowList(session, settings, clock)
        self._audit = Audit(session, clock)
        self._sessions = sessions
        self._settings = settings
        self._hash = KeyedHash(settings.jwt_secret)
        self._clock = clock
        self._mail_queue = mail_queue
        self._on_sign_in = on_sign_in
        self._throttle = throttle

    async def request_link(self, email: str, *, verifier: str, client: str) -> None:
        """Mail a link to `email` if it may sign in. The queries are the same for every address.

        An address with LINKS_PER_ADDRESS unused links gets no further mail; its links then work in
        this browser as well. Repeated requests thus neither flood a mailbox nor lock its owner out.
        """
        now = self._clock()
        allowed = await self._allow_list.allows(email)
        if await self._links.mailed(email, now) >= LINKS_PER_ADDRESS:
            browser = WaitingBrowser(
                email=email,
                verifier_hash=self._hash("verifier", verifier),
                expires_at=now + LINK_LIFE,
            )
            self._links.add_waiting(browser)
            self._record_request(
                email, client, "no mail: the address has the maximum of unused links"
            )
            log.info(
                "no link sent: the address has the maximum of unused links", domain=domain(email)
            )
            return
        token = add_link(
            self._links, self._hash, email, now=now, expires_at=now + LINK_LIFE, verifier=verifier
        )
        self._record_request(email, client, "mailed" if allowed else "no mail: not allowed")
        if not allowed:
            log.info("no link sent: the address may not sign in", domain=domain(email))
            return
        mail = sign_in_mail(
            to=email,
            link=link_address(self._settings, token),
            life_minutes=int(LINK_LIFE.total_seconds() // 60),
        )
        # A mail sent later would hold an expired link.
        after_commit(
            self._db, lambda: self._mail_queue.post(mail, within=LINK_LIFE - _READING_TIME)
        )

    def _record_request(self, email: str, client: str, outcome: str) -> None:
        # The same for every address, so that timing does not reveal which are known.
        skipped = self._throttle.take("link.asked", client)
        if skipped is None:
            return
        more = f" ({skipped} more since the last)" if skipped else ""
        self._audit.record(
            "link.asked", user_id="", actor=STRANGER, subject=email, detail=outcome + more
        )

    async def account(self, token: str, *, verifier: str | None) -> tuple[str, bool] | None:
        """`(address, signs in this browser)` of an unused link; `None` if it is invalid."""
        link = await self._live(token)
        if link is None or not await self._allow_list.allows(link.email):
            return None
        return link.email, await self._requested_here(link, verifier)

    async def use_token(
        self, token: str, *, verifier: str | None, user_agent: str
    ) -> SignedIn | CodeShown | None:
        """Use a link: sign in the requesting browser, or show digits in another.

        Returns `None` if the link is invalid.
        """
        now = self._clock()
        link = await self._live(token)
        if link is None:
            return None
        if not await self._requested_here(link, verifier):
            code = new_code()
            shown = await self._links.show_code(
                link.id, self._hash("code", link.id, code), at_most=CODES_PER_LINK, now=now
            )
            return CodeShown(code) if shown else None
        mailed = link.verifier_hash is not None
        return await self._consume(link.id, link.email, mailed=mailed, user_agent=user_agent)

    async def use_code(
        self, code: str, *, verifier: str | None, user_agent: str
    ) -> SignedIn | None:
        """Sign in with the digits that another browser showed; `None` if wrong.

        Every call counts as an attempt.
        """
        if verifier is None:
            return None
        waiting = await self._links.count_attempt(
            self._hash("verifier", verifier), at_most=TRIES_PER_LINK, now=self._clock()
        )
        for link_id, email, code_hash in waiting:
            if hmac.compare_digest(code_hash, self._hash("code", link_id, code)):
                return await self._consume(link_id, email, mailed=True, user_agent=user_agent)
        return None

    async def _live(self, token: str) -> SignInLink | None:
        if not is_token(token):
            return None
        return await self._links.live(self._hash("link", token), self._clock())

    async def _requested_here(self, link: SignInLink, verifier: str | None) -> bool:
        if link.verifier_hash is None:
            return True  # made by the operator or an admin, for any browser
        if verifier is None:
            return False
        hashed = self._hash("verifier", verifier)
        return hmac.compare_digest(link.verifier_hash, hashed) or await self._links.waits(
            hashed, link.email, self._clock()
        )

    async def _consume(
        self, link_id: str, email: str, *, mailed: bool, user_agent: str
    ) -> SignedIn | None:
        now = self._clock()
        if not await self._links.consume(link_id, now):
            return None
        user = await self._allow_list.find_or_add_user(email)
        if user is None:
            return None
        user.last_sign_in_at = now
        await self._db.flush()
        if mailed and await self._users.prove_mailbox(user.id, now):
            # An admin may have opened the account by a link of theirs: end those sessions.
            await self._sessions.end_all(user.id, actor="server")
        self._audit.record("sign-in", user_id=user.id, actor=user.id, detail=user_agent)
        token = self._sessions.begin(user, user_agent=user_agent)
        user_id = user.id
        after_commit(self._db, lambda: self._on_sign_in(user_id))
        return SignedIn(user, token)


async def operator_link(
    session: AsyncSession, *, settings: ManagementSettings, clock: Clock, email: str | None
) -> tuple[str, str]:
    """Make a link that any browser may use once; returns `(address, link)`.

    The operator can read the database and its keys, so no permission is checked. A new address
    becomes the admin of an installation without one, and a member otherwise. Without `email` the
    link is for the first admin. Raises `Problem` if the user is not active.
    """
    users = UserRepository(session)
    allow_list = AllowList(session, settings, clock)
    await users.lock_installation()
    admin = await users.first_admin()
    chosen = email or (LOCAL_ADMIN if admin is None else admin.email)
    user = await users.by_email(chosen)
    if user is None:
        await LinkRepository(session).delete_made_for(chosen)  # one of an invitation, too
        user = allow_list.add_user(chosen, Role.MEMBER if admin else Role.ADMIN, actor="operator")
        await session.flush()
    if user.status == Status.DELETING:
        raise Problem(403, "user-deleting", f"{chosen} is being deleted. Try again in a moment.")
    if user.status != Status.ACTIVE:
        raise Problem(403, "suspended", f"{chosen} is suspended. An admin can reactivate them.")
    if admin is None:
        user.role = Role.ADMIN
        Audit(session, clock).record("user.admin", user_id=user.id, actor="operator")
    now = clock()
    token = add_link(
        LinkRepository(session),
        KeyedHash(settings.jwt_secret),
        chosen,
        now=now,
        expires_at=now + LINK_LIFE,
    )
    Audit(session, clock).record("link.made", user_id=user.id, actor="operator", subject=chosen)
    return chosen, link_address(settings, token)


async def warn_without_admin(database: Database, settings: ManagementSettings) -> None:
    """Log at start how to make the first admin, if there is none.

    Logs nothing with neither mail nor https, as on a single machine, where `ocmt up` prints the
    first link.
    """
    if not (settings.smtp_host or settings.secure):
        return
    try:
        async with database.read() as session:
            admin = await UserRepository(session).first_admin()
    except Problem:  # the database is away; /health reports it
        return
    if admin is None:
        log.warning(
            "no admin yet",
            reason="Signing in does not make an admin. Make a sign-in link for the first one: "
            "`./ocmt link --email ADDRESS`, or on a server "
            "`python -m ocmt_management sign-in-link --email ADDRESS`.",
        )


async def delete_expired(session: AsyncSession, clock: Clock) -> None:
    """Delete links and invitations that can no longer be used."""
    await LinkRepository(session).delete_before(clock())
    await InvitationRepository(session).delete_before(clock())
