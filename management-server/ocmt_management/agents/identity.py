"""The name and the face that users give their agents: stored, and as text for `IDENTITY.md`.

OpenClaw (2026.9.6) puts that file of the workspace into each turn's instructions, so a change needs
no restart. The face is an emoji, or a small picture as a `data:` URL.
"""

import base64
import re
from typing import Annotated

from ocmt_common.agent_api import Command, Wire
from pydantic import AfterValidator, StringConstraints
from sqlalchemy import ForeignKey, String, Text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from ocmt_management.auth.service import lock_user
from ocmt_management.db import Base
from ocmt_management.picture_types import picture_type

MAX_NAME = 40
MAX_FACE = 24_000
"""Characters: a picture of 128 pixels has some thousand."""
_PICTURE = re.compile(r"data:(image/(?:png|jpeg|webp));base64,([A-Za-z0-9+/]+={0,2})")
_EMOJI = re.compile(r"[^\s\w\x00-\x22\x24-\x29\x2b-\x7f]{1,16}")


def is_emoji(face: str) -> bool:
    return _EMOJI.fullmatch(face) is not None


def _plain(name: str) -> str:
    if not name.isprintable():
        raise ValueError("a name has no line ends or hidden characters")
    return name


def _shown(face: str) -> str:
    picture = _PICTURE.fullmatch(face)
    if face == "" or is_emoji(face):
        return face
    if picture is None:
        raise ValueError("choose an emoji, or a picture as PNG, JPEG or WebP")
    if picture_type(base64.b64decode(picture[2] + "==")) != picture[1]:
        raise ValueError("this is not a picture of the type that it is said to have")
    return face


class IdentityRequest(Command):
    name: Annotated[
        str,
        StringConstraints(strip_whitespace=True, max_length=MAX_NAME),
        AfterValidator(_plain),
    ]
    """Empty for none."""
    face: Annotated[str, StringConstraints(max_length=MAX_FACE), AfterValidator(_shown)]
    """Empty, an emoji, or a picture as a `data:` URL."""


class IdentityView(Wire):
    name: str
    face: str


class Identity(Base):
    __tablename__ = "agent_identities"

    user_id: Mapped[str] = mapped_column(
        ForeignKey("users.id", ondelete="CASCADE"), primary_key=True
    )
    name: Mapped[str] = mapped_column(String(MAX_NAME))
    face: Mapped[str] = mapped_column(Text)


async def identity_of(session: AsyncSession, user_id: str) -> IdentityView:
    row = await session.get(Identity, user_id)
    return IdentityView(name=row.name if row else "", face=row.face if row else "")


async def set_identity(session: AsyncSession, user_id: str, wanted: IdentityRequest) -> None:
    await lock_user(session, user_id)  # several tabs may do so at once
    await session.merge(Identity(user_id=user_id, name=wanted.name, face=wanted.face))


def with_identity(text: str, name: str, emoji: str) -> str:
    """`IDENTITY.md` with these values; an empty one leaves what is there."""
    for label, value in (("Name", name), ("Emoji", emoji)):
        if not value:
            continue
        line = f"- **{label}:** {value}"
        # The template has a hint on an indented line below each field.
        field = re.compile(
            rf"^-\s*\**{label}:\**.*(?:\n[ \t]+\S.*)?$", re.MULTILINE | re.IGNORECASE
        )
        if field.search(text):
            text = field.sub(line.replace("\\", r"\\"), text, count=1)
        else:
            text = f"{text.rstrip()}\n\n{line}\n".lstrip()
    return text
