"""Checks and normalizes the address of a user's or an admin's model server, such as Ollama."""

from ocmt_common.problems import Problem

from ocmt_management.outbound.service import checked_url
from ocmt_management.settings import ManagementSettings

_ENDPOINTS = ("/chat/completions", "/models")


def own_server_url(text: str, settings: ManagementSettings) -> str:
    """The address before `/chat/completions`. Raises a 422 `Problem` if it may not be used."""
    url = checked_url(text, settings.private_host_set, example="http://ollama.lan:11434/v1")
    if "?" in url:
        raise Problem(422, "url-invalid", "Give the server's address up to /v1, without a query.")
    for endpoint in _ENDPOINTS:
        url = url.removesuffix(endpoint)
    url = url.rstrip("/")
    return f"{url}/v1" if url.count("/") == 2 else url
