"""Settings, validated once at startup.

A server declares a `Settings` subclass whose field names, in upper case, are the names in the
environment and in the `.env` file. `load` reads both (the environment takes precedence) and raises
one error with the cure for each wrong setting.
"""

import difflib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from ocmt_common.env_file import EnvFileError, read_env_file

T = TypeVar("T", bound="Settings")

# OCMT's variables that are not settings of a server, such as the launcher's.
_PREFIX = "OCMT_"


class SettingsError(Exception):
    """The settings cannot be used. `str()` has one line per problem, with the cure."""


class Settings(BaseSettings):
    """Base of a server's settings. Every field needs a `description`; the docs test reads them."""

    model_config = SettingsConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        # Use only the values that `load` has read.
        return (init_settings,)

    @classmethod
    def names(cls) -> dict[str, str]:
        """Name in the environment → field, of every setting."""
        return {name.upper(): name for name in cls.model_fields}


def load(
    settings: type[T], *, env_file: Path | None = None, environ: Mapping[str, str] | None = None
) -> T:
    """Read and check `settings` from `env_file` (if it exists) and the environment.

    Raises `SettingsError` for a malformed line or an unknown name in the file, for a name in the
    environment that resembles a setting (a typo would otherwise be ignored), and for wrong values.
    The message has no values, since they may be secrets.
    """
    environment = os.environ if environ is None else environ
    known = settings.names()
    problems: list[str] = []

    source = _credential(environment) or env_file
    try:
        written = read_env_file(source, called=env_file) if source is not None else {}
    except EnvFileError as error:
        raise SettingsError(str(error)) from error
    # In both sources, an empty value counts as not set.
    values: dict[str, Any] = {
        known[name]: value
        for place in (written, environment)
        for name, value in place.items()
        if name in known and value
    }
    for name in (name for name in written if name not in known):
        problems.append(f"{name} in {env_file or source}: {_unknown(name, known)}")
    problems += _near_misses(environment, known)

    try:
        loaded = settings(**values)
    except ValidationError as error:
        for item in error.errors(include_input=False, include_url=False):
            field = str(item["loc"][0]) if item["loc"] else ""
            problems.append(_wrong(settings, field, item["type"], item["msg"]))
    if problems:
        if source is not None and not source.exists():
            problems.insert(0, f"{source} does not exist.")
        raise SettingsError("\n".join(problems))
    return loaded


def _near_misses(environment: Mapping[str, str], known: Mapping[str, str]) -> Iterator[str]:
    for name in environment:
        if name in known:
            continue
        if name.startswith(_PREFIX) and difflib.get_close_matches(name, known, 1, 0.85):
            yield f"{name} in the environment: {_unknown(name, known)}"
        elif (close := difflib.get_close_matches(name, known, 1, 0.92)) and name not in _COMMON:
            yield f"{name} in the environment: not a setting; did you mean {close[0]}?"


def _credential(environment: Mapping[str, str]) -> Path | None:
    """The `.env` file as a systemd credential (`LoadCredential=env:`); `None` if there is none.

    With it, only root must be able to read the file itself. See systemd.exec(5), "Credentials".
    """
    folder = environment.get("CREDENTIALS_DIRECTORY")
    file = Path(folder, "env") if folder else None
    return file if file is not None and file.exists() else None


# Other programs' variables that resemble a setting.
_COMMON = frozenset({"DATABASE_URI", "SMTP_HOSTS"})


def _unknown(name: str, known: Mapping[str, str]) -> str:
    close = difflib.get_close_matches(name, known, 1, 0.6)
    hint = f"did you mean {close[0]}?" if close else "remove it, or see docs/settings.md."
    return f"not a setting; {hint}"


def _wrong(settings: type[Settings], field: str, kind: str, message: str) -> str:
    name = field.upper() or "settings"
    info = settings.model_fields.get(field)
    meaning = f" ({info.description})" if info is not None and info.description else ""
    if kind == "missing":
        return f"{name} is not set{meaning}. Set it in the environment or in the .env file."
    return f"{name}: {message.removeprefix('Value error, ')}{meaning}"
