"""Rewraps data keys with the first key of `VAULT_KEY` while the server runs.

Secrets are not decrypted. If all data keys were rewrapped, the old key can be removed from the
setting.
"""

from collections.abc import Callable

import structlog
from ocmt_common.problems import Problem

from ocmt_management.db import Database
from ocmt_management.vault.keys import KeyRing
from ocmt_management.vault.repository import VaultRepository
from ocmt_management.vault.server_secrets import owner

log = structlog.get_logger(__name__)

_BATCH = 100


async def rotate(
    database: Database, keys: KeyRing, progress: Callable[[int], None] = lambda _: None
) -> int:
    """Rewrap every data key that an older key wraps. Returns how many were rewrapped.

    A data key that cannot be unwrapped is logged and left. Each batch is a transaction with its
    rows locked, so it can be killed at any moment, and several processes can do it at once.
    `progress` is called after each with the count so far.
    """
    moved = 0
    after = ""
    while True:
        async with database.write() as session:
            rows = VaultRepository(session)
            batch = await rows.data_keys_not_under(keys.current_id, after=after, limit=_BATCH)
            for row in batch:
                after = row.user_id
                try:
                    wrapped = keys.rewrap(row.wrapped, key_id=row.key_id, user_id=row.user_id)
                except Problem as problem:
                    log.error("data key not rotated", user_id=row.user_id, cure=problem.detail)
                    continue
                row.key_id, row.wrapped = keys.current_id, wrapped
                moved += 1
        progress(moved)
        if len(batch) < _BATCH:
            break
    moved += await _rotate_server_secrets(database, keys)
    if moved:
        log.info("vault keys rotated", data_keys=moved, key_id=keys.current_id)
    return moved


async def _rotate_server_secrets(database: Database, keys: KeyRing) -> int:
    moved = 0
    async with database.write() as session:
        for row in await VaultRepository(session).server_secrets_not_under(keys.current_id):
            try:
                wrapped = keys.rewrap(row.wrapped, key_id=row.key_id, user_id=owner(row.name))
            except Problem as problem:
                log.error("data key not rotated", secret=row.name, cure=problem.detail)
                continue
            row.key_id, row.wrapped = keys.current_id, wrapped
            moved += 1
    return moved
