"""Rewraps data keys with the first key of `VAULT_KEY` while the server runs.

Secrets are not decrypted. Then the old key can be removed from the setting.
"""

import structlog
from ocmt_common.problems import Problem

from ocmt_management.db import Database
from ocmt_management.vault.keys import KeyRing
from ocmt_management.vault.repository import VaultRepository

log = structlog.get_logger(__name__)

_BATCH = 100


async def rotate(database: Database, keys: KeyRing) -> int:
    """Rewrap every data key that an older key wraps; returns how many were rewrapped."""
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
        if len(batch) < _BATCH:
            break
    if moved:
        log.info("vault keys rotated", users=moved, key_id=keys.current_id)
    return moved
