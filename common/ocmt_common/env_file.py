"""Reads `.env` files: a literal `NAME=value` per line; any other line is an error.

A line that is skipped silently would be a setting without effect, and `${…}` in a password must not
be expanded.
"""

from io import StringIO
from pathlib import Path

from dotenv.parser import parse_stream


class EnvFileError(Exception):
    """The file cannot be used. `str()` has one line per mistake, without values."""


def read_env_file(file: Path, *, called: Path | None = None) -> dict[str, str]:
    """The settings in `file`; empty if it does not exist. Raises `EnvFileError`.

    `called` is the path to show to the operator if `file` is a copy.
    """
    name = called or file
    try:
        text = file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return {}
    except UnicodeDecodeError as error:
        raise EnvFileError(f"{name} is not UTF-8 text. Save it as UTF-8.") from error
    except OSError as error:
        raise EnvFileError(
            f"{name} cannot be read ({error.strerror}). It must be a file that this user may read."
        ) from error
    values: dict[str, str] = {}
    wrong: list[str] = []
    for binding in parse_stream(StringIO(text)):
        line = binding.original.line
        if binding.error:
            wrong.append(
                f"Line {line} of {name} is not NAME=value, or has an unclosed quote. "
                "Correct or remove it."
            )
        elif binding.key is not None and binding.value is None:
            wrong.append(
                f"Line {line} of {name}: {binding.key} has no value. Write {binding.key}=… or "
                "remove the line."
            )
        elif binding.key is not None:
            values[binding.key] = binding.value or ""
    if wrong:
        raise EnvFileError("\n".join(wrong))
    return values
