"""A running server whose users subscribe at a push service of the test."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from ocmt_management.settings import ManagementSettings
from ocmt_testing.management.push_service import PushService, running_push_service


@pytest.fixture
def settings(
    make_settings: Callable[..., ManagementSettings],
    database_url: str,
    its_settings: dict[str, str],
) -> ManagementSettings:
    return make_settings(database_url=database_url, **its_settings, private_hosts="127.0.0.1")


@pytest.fixture
async def push_service(tmp_path: Path) -> AsyncIterator[PushService]:
    async with running_push_service(tmp_path) as service:
        yield service
