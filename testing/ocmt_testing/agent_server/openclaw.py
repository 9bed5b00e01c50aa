"""The real OpenClaw, for tests, installed once into the checkout's data folder."""

from pathlib import Path

from ocmt_cli.checkout import DEFAULT_DATA
from ocmt_cli.node import node_binary
from ocmt_cli.openclaw.install import install_openclaw

__all__ = ["installed_openclaw", "node_binary"]


def installed_openclaw() -> Path:
    target = DEFAULT_DATA / "openclaw"
    install_openclaw(target)
    return target
