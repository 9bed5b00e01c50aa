"""Random tokens, and the hashes that the database stores instead of them."""

import hashlib
import hmac
import re
import secrets

from pydantic import SecretStr

_TOKEN_BYTES = 32
_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")
_CODE_DIGITS = 6


def new_token() -> str:
    """A token of 256 random bits, URL-safe."""
    return secrets.token_urlsafe(_TOKEN_BYTES)


def new_code() -> str:
    """Six digits for a user to type."""
    return f"{secrets.randbelow(10**_CODE_DIGITS):0{_CODE_DIGITS}}"


def is_token(text: str) -> bool:
    return _TOKEN.fullmatch(text) is not None


def token_hash(token: str) -> bytes:
    """The SHA-256 of a token, which suffices since 256 random bits cannot be guessed."""
    return hashlib.sha256(token.encode()).digest()


class KeyedHash:
    """HMAC-SHA-256 keyed with `JWT_SECRET`: a stolen database alone cannot confirm a guess.

    An unkeyed hash of six digits is reversed by trying all of them.
    """

    def __init__(self, secret: SecretStr) -> None:
        self._key = secret.get_secret_value().encode()

    def __call__(self, purpose: str, *values: str) -> bytes:
        text = "\x00".join((purpose, *values))
        return hmac.digest(self._key, text.encode(), "sha256")
