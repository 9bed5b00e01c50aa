"""Where a server's data is, by its settings."""

from pathlib import PurePosixPath

import pytest
from ocmt_cli.backup.transfer import data_folder, database_of, parse_settings
from ocmt_cli.failure import CommandFailed


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("DATA_DIR=/data\n", ("sqlite", "/data/management.db")),
        ("DATA_DIR=/data/\n", ("sqlite", "/data/management.db")),
        ("DATABASE_URL=sqlite:////other/x.db\n", ("sqlite", "/other/x.db")),
        ("DATABASE_URL=postgresql+asyncpg://u:p@h/d\n", ("postgresql", "postgresql://u:p@h/d")),
    ],
)
def test_managements_database_is_found(text: str, found: tuple[str, str]) -> None:
    assert database_of(parse_settings(text)) == found


@pytest.mark.parametrize("text", ["", "JWT_SECRET=x\n", "DATA_DIR=\n", "DATA_DIR\n"])
def test_settings_without_a_place_are_refused_with_the_cure(text: str) -> None:
    settings = parse_settings(text)
    for find in (database_of, data_folder):
        with pytest.raises(CommandFailed, match=r"DATA_DIR is not in the server's \.env.*Set it"):
            find(settings)
    assert data_folder({"DATA_DIR": "/x"}) == PurePosixPath("/x")
