"""The user's known_hosts gets the server's key, and keeps its other entries."""

from pathlib import Path

import pytest
from ocmt_cli.deploy.inventory import Inventory
from ocmt_cli.setup import host_key

KEY = "AAAAC3NzaC1lZDI1NTE5AAAAIAkqS4zHRiLEwJ9LsgzRzqGvhYyyQwJ1UWdT2DYhVrK1"
LINE = f"203.0.113.10 ssh-ed25519 {KEY}"
OTHER = f"other.example.com ssh-ed25519 {KEY}"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, [LINE]),
        ("", [LINE]),
        (f"{OTHER}\n", [OTHER, LINE]),
        (OTHER, [OTHER, LINE]),
        (f"{OTHER}\n# Büro\n{OTHER}", [OTHER, "# Büro", OTHER, LINE]),
    ],
)
def test_the_key_is_a_line_of_its_own(
    inventory: Inventory,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    before: str | None,
    after: list[str],
) -> None:
    file = tmp_path / "known_hosts"
    if before is not None:
        file.write_text(before)
    policy = inventory.deploy.model_copy(update={"known_hosts": file})
    monkeypatch.setattr(host_key, "_shown_key", lambda *_: LINE)
    host_key.ensure_known(
        inventory.model_copy(update={"deploy": policy}),
        inventory.host("front"),
        accepted=host_key.fingerprint(KEY),
    )
    assert file.read_text() == "".join(f"{line}\n" for line in after)
