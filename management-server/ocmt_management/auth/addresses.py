"""E-mail addresses as identities: one spelling each, and nothing that could bend a mail header."""

import re
from typing import Annotated

from pydantic import AfterValidator, StringConstraints

# The useful subset of RFC 5321; no quotes, comments, lists or non-ASCII look-alikes.
_ADDRESS = re.compile(r"[a-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?")


def normalise(address: str) -> str:
    """The one spelling under which an address is stored. Raises `ValueError` when it is none."""
    text = address.strip().lower()
    if len(text) > 254 or not _ADDRESS.fullmatch(text) or ".." in text:
        raise ValueError("is not an e-mail address, such as ada@example.com")
    return text


EmailAddress = Annotated[str, StringConstraints(max_length=320), AfterValidator(normalise)]


def domain(address: str) -> str:
    return address.rpartition("@")[2]
