"""A world in which server processes are started and killed."""

import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from ocmt_management.agents.gateway import Gateway
from ocmt_management.db import create_sqlite_file
from ocmt_management.migrations import migrate
from ocmt_management.settings import ManagementSettings
from ocmt_management.tools import approvals, message_delivery
from ocmt_testing.management.approvals import World, open_gateway


@pytest.fixture
async def world(
    make_settings: Callable[..., ManagementSettings],
    database_url: str,
    migrated: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[World]:
    monkeypatch.setattr(Gateway, "open", open_gateway)
    monkeypatch.setattr(message_delivery, "_CHECK_EVERY_S", 0)
    monkeypatch.setattr(approvals, "_POLL_S", 0.05)
    settings = make_settings(database_url=database_url)
    if settings.database.get_backend_name() == "sqlite":
        create_sqlite_file(settings.database)
        shutil.copyfile(migrated, str(settings.database.database))
    else:
        await migrate(settings.database)
    made = World(settings)
    await made.prepare()
    yield made
    await made.close()
