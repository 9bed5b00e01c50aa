"""Checks the address of a server that a user gives."""

from ocmt_common.problems import Problem
from yarl import URL

from ocmt_management.outbound.client import AddressRefused, check_literal


def checked_url(text: str, private_hosts: frozenset[str], *, example: str) -> str:
    """The address, normalised. Raises a 422 `Problem` if it may not be used."""
    wrong = Problem(422, "url-invalid", f"Give the server's whole address, such as {example}.")
    try:
        url = URL(text)
        port = url.port
    except ValueError as error:
        raise wrong from error
    if (
        url.scheme not in ("http", "https")
        or not url.host
        or not port
        or not text.isprintable()
        or " " in text
    ):
        raise wrong
    if url.user is not None or url.password is not None or url.fragment:
        raise Problem(
            422,
            "url-invalid",
            "Leave user, password and # out of the address; a key is entered as the credential.",
        )
    if url.scheme == "http" and url.host.lower().rstrip(".") not in private_hosts:
        raise Problem(
            422, "url-insecure", "Use https://: over http:// others could read the credential."
        )
    try:
        check_literal(url, private_hosts)
    except AddressRefused as refused:
        raise Problem(422, "address-refused", f"{refused}.") from refused
    return str(url)
