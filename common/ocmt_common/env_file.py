"""Reading `.env` files: `NAME=value` a line, taken as it stands, and anything else is refused.

A line that is silently left out is a setting that the operator believes in and that has no effect;
and a password with `${…}` in it is a password, not a reference to another variable.
"""

from io import StringIO
from pathlib import Path

from dotenv.parser import parse_stream


class EnvFileError(Exception):
    """The file cannot be used. `str()` says each thing that is wrong, a line each, and no value."""


def read_env_file(file: Path, *, called: Path | None = None) -> dict[str, str]:
    """The settings in `file`; none when there is no such file. Raises `EnvFileError`.

    `called` is the file as the operator knows it, when `file` is a copy that something made of it.
    """
    name = called or file
    try:
        text = file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return {}
    except UnicodeDecodeError as error:
        raise EnvFileError(f"{name} is not UTF-8 text. Save it as such.") from error
    except OSError as error:
        raise EnvFileError(
            f"{name} cannot be read ({error.strerror}). It must be a file that the user who runs "
            "this may read."
        ) from error
    values: dict[str, str] = {}
    wrong: list[str] = []
    for binding in parse_stream(StringIO(text)):
        line = binding.original.line
        if binding.error:
            wrong.append(
                f"Line {line} of {name} is not NAME=value, or a quote in it is not closed. "
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
