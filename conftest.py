"""Marks each test with its tier, which is the folder it lies in."""

from pathlib import Path

import pytest

TIERS = ("unit", "integration", "docker", "e2e")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        parts = Path(item.path).parts
        tier = next((t for t in TIERS if t in parts), "unit")
        item.add_marker(getattr(pytest.mark, tier))
