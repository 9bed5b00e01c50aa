"""The repository's example inventory."""

import pytest
from ocmt_cli.checkout import ROOT
from ocmt_cli.deploy.inventory import Inventory, load_inventory


@pytest.fixture
def inventory() -> Inventory:
    return load_inventory(ROOT / "deploy" / "ocmt.example.toml")
