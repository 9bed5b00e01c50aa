"""Marks each test with its tier, which is the folder it lies in."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes is the machine's matter. The rest is as hypothesis would choose itself.
settings.register_profile(
    "any-machine", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any-machine")

TIERS = ("unit", "integration", "docker", "e2e")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        parts = Path(item.path).parts
        tier = next((t for t in TIERS if t in parts), "unit")
        item.add_marker(getattr(pytest.mark, tier))
