"""`python -m ocmt_management vault-key`: which keys are used, new ones, and rewrapping.

All of it is safe while servers run, and in several processes at once.
"""

import re
from collections.abc import Mapping, Sequence

from ocmt_common.problems import Problem

from ocmt_management.db import Database
from ocmt_management.integrations.service import client_key_ids, reseal_clients
from ocmt_management.settings import ManagementSettings
from ocmt_management.vault.key_providers import new_entry, open_keys, transit_of
from ocmt_management.vault.keys import KeyRing
from ocmt_management.vault.repository import VaultRepository
from ocmt_management.vault.rotation import rotate

_NUMBERED = re.compile(r"k(\d{1,9})")


async def vault_key_command(settings: ManagementSettings, action: str) -> None:
    """Carry out an action, and print what it found. Raises `Problem` or `KeyProviderError`."""
    listed = list(settings.vault_key_entries)
    if action == "new":
        print(await _new(settings, listed))
        return
    database = Database(settings.database)
    try:
        if action == "rewrap":
            await _rewrap(database, settings)
        used = await key_uses(database)
    finally:
        await database.close()
    print("\n".join(report(listed, used)))
    first = listed[0]
    if action == "rewrap" and (rest := sorted(set(used) - {first})):
        raise Problem(
            500,
            "vault-key-missing",
            f"Some data is still encrypted with {', '.join(rest)}, not with {first}. See the lines "
            "above for what to do.",
        )


async def key_uses(database: Database) -> dict[str, int]:
    """How much each key encrypts: data keys, and secrets of clients."""
    async with database.read() as session:
        found = await VaultRepository(session).key_ids()
        for key_id, count in (await client_key_ids(session)).items():
            found[key_id] = found.get(key_id, 0) + count
    return found


def report(listed: Sequence[str], used: Mapping[str, int]) -> list[str]:
    """Lines about each key, and what to do. `listed` are those of VAULT_KEY. Pure."""
    first = listed[0]
    lines = [f"{first}: encrypts what is new; {used.get(first, 0)} encrypted with it"]
    lines += [f"{one}: {used.get(one, 0)} encrypted with it" for one in listed[1:]]
    missing = sorted(set(used) - set(listed))
    lines += [f"{one}: {used[one]} encrypted with it, but VAULT_KEY LACKS IT" for one in missing]
    unused = [one for one in listed[1:] if not used.get(one)]
    if missing:
        lines.append(
            f"Add {', '.join(missing)} to VAULT_KEY again: they are in your backups' keys."
        )
    elif unused == list(listed[1:]) and unused:
        lines.append(
            f"VAULT_KEY can be without {', '.join(unused)}; backups made before need it again."
        )
    elif len(listed) > 1:
        lines.append("Rewrap, or restart the server: `python -m ocmt_management vault-key rewrap`.")
    return lines


def next_id(listed: Sequence[str]) -> str:
    """An id that no key of `listed` has."""
    numbers = [int(found[1]) for one in listed if (found := _NUMBERED.fullmatch(one))]
    return f"k{max(numbers, default=0) + 1}"


async def _new(settings: ManagementSettings, listed: Sequence[str]) -> str:
    if not settings.transit_url:
        return await new_entry(next_id(listed), None)
    async with transit_of(settings) as transit:
        return await new_entry(next_id(listed), transit)


async def _rewrap(database: Database, settings: ManagementSettings) -> None:
    keys = KeyRing(await open_keys(settings))
    used = await key_uses(database)
    total = sum(count for key_id, count in used.items() if key_id != keys.current_id)

    def progress(moved: int) -> None:
        print(f"{moved} of {total} encrypted with {keys.current_id}", flush=True)

    moved = await rotate(database, keys, progress)
    progress(moved + await reseal_clients(database, keys))
