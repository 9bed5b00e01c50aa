"""FastAPI dependencies: the vault."""

from typing import Annotated

from fastapi import Depends
from starlette.requests import HTTPConnection

from ocmt_management.dependencies import Clock, Transaction
from ocmt_management.vault import service


async def _key_ring(connection: HTTPConnection) -> service.KeyRing:
    keys: service.KeyRing = connection.app.state.vault_keys
    return keys


KeyRing = Annotated[service.KeyRing, Depends(_key_ring)]


async def _vault(db: Transaction, keys: KeyRing, clock: Clock) -> service.Vault:
    return service.Vault(db, keys, clock)


Vault = Annotated[service.Vault, Depends(_vault)]
"""The vault within the request's transaction."""
