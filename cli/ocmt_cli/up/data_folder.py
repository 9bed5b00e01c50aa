"""The data folder: an installation's persistent files and its generated secrets.

The two `.env` files belong to the operator and may have any of the servers' settings. OCMT only
adds missing secrets.
"""

import base64
import secrets
from dataclasses import dataclass
from pathlib import Path

from ocmt_common.atomic_files import replace_file
from ocmt_common.env_file import EnvFileError, read_env_file

from ocmt_cli.failure import CommandFailed, explained


@dataclass(frozen=True, slots=True)
class DataFolder:
    """The paths inside a data folder."""

    root: Path

    @property
    def management_env(self) -> Path:
        return self.root / "management.env"

    @property
    def agent_env(self) -> Path:
        return self.root / "agent.env"

    @property
    def management(self) -> Path:
        """The management server's DATA_DIR."""
        return self.root / "management"

    @property
    def agent(self) -> Path:
        """The agent server's DATA_DIR."""
        return self.root / "agent"

    @property
    def openclaw(self) -> Path:
        return self.root / "openclaw"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    def setting(self, file: Path, name: str) -> str:
        """The value of `name` in one of the `.env` files; empty if it is not set.

        Raises `CommandFailed` if the file cannot be read.
        """
        return _settings(file).get(name, "")

    @property
    def auth_token(self) -> str:
        """The credential for the agent server's API."""
        return self.setting(self.agent_env, "AUTH_TOKEN")


def open_data_folder(root: Path) -> DataFolder:
    """Create the folder, private to its owner, and add missing secrets. Raises `CommandFailed`."""
    data = DataFolder(root.resolve())
    with explained(data.root):
        for folder in (data.root, data.management, data.agent, data.logs):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        data.root.chmod(0o700)
        _complete(data.agent_env, {"AUTH_TOKEN": secrets.token_urlsafe(48)})
        if (data.management / "management.db").exists() and not data.setting(
            data.management_env, "VAULT_KEY"
        ):
            raise CommandFailed(
                f"VAULT_KEY is missing from {data.management_env}; the secrets in the database "
                "cannot be read without it. Restore that file from your backup."
            )
        vault_key = base64.b64encode(secrets.token_bytes(32)).decode()
        _complete(
            data.management_env,
            {"JWT_SECRET": secrets.token_urlsafe(48), "VAULT_KEY": f"k1:{vault_key}"},
        )
    return data


def _settings(file: Path) -> dict[str, str]:
    try:
        return read_env_file(file)
    except EnvFileError as error:
        raise CommandFailed(str(error), exit_code=78) from error


def _complete(file: Path, generated: dict[str, str]) -> None:
    """Append missing settings to a file atomically; it is never readable by others."""
    present = _settings(file)
    missing = [f"{name}={value}\n" for name, value in generated.items() if not present.get(name)]
    if not missing:
        return
    before = file.read_text(encoding="utf-8") if file.exists() else f"{_HEADING}\n"
    if not before.endswith("\n"):
        before += "\n"
    replace_file(file, before + "".join(missing))


_HEADING = "# Settings, one per line: see docs/settings.md. `ocmt up` generated the secrets."
