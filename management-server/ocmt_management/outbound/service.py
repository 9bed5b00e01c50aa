"""Connections to addresses that users choose, for the other domains."""

from ocmt_management.outbound.client import (
    AddressRefused,
    CheckedResolver,
    Client,
    SystemResolver,
    check_literal,
)
from ocmt_management.outbound.httpx_transport import OutboundRefused, OutboundTransport
from ocmt_management.outbound.server_urls import checked_url

__all__ = [
    "AddressRefused",
    "CheckedResolver",
    "Client",
    "OutboundRefused",
    "OutboundTransport",
    "SystemResolver",
    "check_literal",
    "checked_url",
]
