"""E-mail addresses as identities: one spelling each, safe in a mail header."""

import re
from typing import Annotated

import idna
from pydantic import AfterValidator, StringConstraints

# The useful subset of RFC 5321; no quotes, comments, lists or non-ASCII look-alikes.
_ADDRESS = re.compile(r"[a-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?")


def ascii_domain(domain: str) -> str:
    """The domain's ASCII form: `xn--bcher-kva.de` for `bücher.de`.

    Raises `ValueError` for an invalid domain.
    """
    if domain.isascii():
        return domain.lower()
    try:
        return idna.encode(domain, uts46=True).decode("ascii")
    except idna.IDNAError as error:
        raise ValueError("has an invalid domain; check its spelling") from error


def normalise(address: str) -> str:
    """The spelling under which an address is stored. Raises `ValueError` if it is invalid."""
    local, at, domain = address.strip().rpartition("@")
    if at and not local.isascii():
        raise ValueError("has non-ASCII characters before the @; OCMT cannot send mail to it")
    text = f"{local.lower()}{at}{ascii_domain(domain)}"
    if len(text) > 254 or not _ADDRESS.fullmatch(text) or ".." in text:
        raise ValueError("is not an e-mail address, such as ada@example.com")
    return text


EmailAddress = Annotated[str, StringConstraints(max_length=320), AfterValidator(normalise)]


def domain(address: str) -> str:
    return address.rpartition("@")[2]
