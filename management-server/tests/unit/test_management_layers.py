"""Rules of the tree that no linter checks. The domains' import contracts are in pyproject.toml."""

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

import ocmt_management
import pytest

ROOT = Path(ocmt_management.__file__).parent
CHECKOUT = ROOT.parents[1]
SQL = {"select", "insert", "update", "delete", "text", "exists", "func"}
MAY_HAVE_SQL = ("repository.py", "db.py", "models.py")


def modules() -> list[Path]:
    return [path for path in sorted(ROOT.rglob("*.py")) if "migrations" not in path.parts]


def imports(path: Path) -> Iterator[tuple[str, str]]:
    """`(module, name)` for each imported name."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            yield from ((node.module or "", alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_sql_is_written_in_repositories_only(path: Path) -> None:
    if path.name.endswith(MAY_HAVE_SQL):
        return
    assert not [name for module, name in imports(path) if module == "sqlalchemy" and name in SQL]


def test_the_import_contract_names_every_domain() -> None:
    pyproject = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
    contracts = pyproject["tool"]["importlinter"]["contracts"]
    (named,) = (c["modules"] for c in contracts if "domains meet" in c["name"])
    folders = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert set(named) == {f"ocmt_management.{name}" for name in folders - {"migrations"}}


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_no_http_client_keeps_cookies_or_heeds_the_environment(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("httpx2.AsyncClient"):
            options = {word.arg: ast.unparse(word.value) for word in node.keywords}
            assert options.get("cookies") == "no_cookies()", f"line {node.lineno}"
            assert options.get("trust_env") == "False", f"line {node.lineno}"
