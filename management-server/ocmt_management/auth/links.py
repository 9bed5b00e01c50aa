"""Sign-in links: their tokens and addresses. Only the token's hash is stored."""

from datetime import datetime

from ocmt_management.auth.models import SignInLink
from ocmt_management.auth.repository import LinkRepository
from ocmt_management.settings import ManagementSettings
from ocmt_management.tokens import KeyedHash, new_token


def add_link(
    links: LinkRepository,
    hashed: KeyedHash,
    email: str,
    *,
    now: datetime,
    expires_at: datetime,
    verifier: str | None = None,
) -> str:
    """Store a link and return its token. Without `verifier` any browser may use it."""
    token = new_token()
    links.add(
        SignInLink(
            email=email,
            token_hash=hashed("link", token),
            verifier_hash=None if verifier is None else hashed("verifier", verifier),
            created_at=now,
            expires_at=expires_at,
        )
    )
    return token


def link_address(settings: ManagementSettings, token: str) -> str:
    # In the fragment, which browsers do not send: it appears in no log and no Referer.
    return f"{settings.page_origin}/sign-in#{token}"
