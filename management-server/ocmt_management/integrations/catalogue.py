"""The providers that ship: one TOML file each, in `providers/`, read at the first use."""

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import resources

from pydantic import ValidationError

from ocmt_management.integrations.provider_schema import Kind, Provider

OWN = "own"
API_KEY = "api-key"
MCP = "mcp"


class CatalogueError(Exception):
    """A provider's file is wrong. `str()` names the file and the part."""


@cache
def shipped() -> Mapping[str, Provider]:
    """Every provider by its id, the file's name."""
    folder = resources.files("ocmt_management.integrations") / "providers"
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".toml")), key=lambda f: f.name)
    return {
        file.name.removesuffix(".toml"): read_provider(file.name, file.read_text(encoding="utf-8"))
        for file in files
    }


def read_provider(name: str, text: str) -> Provider:
    """Raises `CatalogueError`."""
    try:
        found = Provider.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise CatalogueError(f"{name} is not TOML: {error}") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the whole"
        raise CatalogueError(f"{name}: {where}: {first['msg']}") from error
    if found.kind is Kind.MCP:
        raise CatalogueError(f"{name}: kind: providers of MCP servers are found, not written")
    return found
