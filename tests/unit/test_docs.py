"""The docs are true: settings, commands, links, and what must never be in the tree."""

import importlib.util
import json
import re
import subprocess
import tomllib
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest
from ocmt_cli.main import COMMANDS
from ocmt_cli.testing.tiers import TIERS
from typer.main import get_command

ROOT = Path(__file__).parents[2]


@cache
def tracked() -> tuple[Path, ...]:
    """The files of the commit and the untracked ones that git does not ignore."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    paths = (ROOT / name for name in listed.split("\0") if name)
    return tuple(path for path in paths if path.is_file() and not path.is_symlink())


def text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return ""


PAGES = sorted(path for path in tracked() if path.suffix == ".md")
LOCKS = sorted((ROOT / "requirements").glob("*.lock"))


def script(name: str) -> ModuleType:
    path = ROOT / "scripts" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_settings_page_is_what_the_classes_say() -> None:
    made = script("settings_page")
    assert made.PAGE.read_text(encoding="utf-8") == made.page(), (
        "run .venv/bin/python scripts/settings_page.py"
    )


def test_the_settings_page_names_no_example_for_a_setting_that_is_gone() -> None:
    made = script("settings_page")
    names = {*made.ManagementSettings.names(), *made.AgentSettings.names()}
    assert set(made._EXAMPLES) == names


def code_in(page: Path) -> list[str]:
    """The code on a page: blocks, and the spans in its sentences."""
    text = text_of(page)
    return re.findall(r"```\w*\n.*?```|`[^`]+`", text, re.DOTALL)


def commands_named_in(page: Path) -> set[tuple[str, ...]]:
    """`./ocmt WORD [WORD]` as code on a page."""
    found = set()
    for piece in code_in(page):
        for match in re.finditer(r"\./ocmt[ \n]([a-z]+)(?: ([a-z]+))?", piece):
            found.add(tuple(word for word in match.groups() if word))
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_that_a_page_names_exists(page: Path) -> None:
    for name, *rest in commands_named_in(page):
        assert name in COMMANDS, f"{page.name} names `ocmt {name}`"
        entry = COMMANDS[name]
        command = get_command(getattr(importlib.import_module(entry.module), entry.attribute))
        subcommands = getattr(command, "commands", None)
        if rest and subcommands is not None:
            assert rest[0] in subcommands, f"{page.name} names `ocmt {name} {rest[0]}`"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_writes_a_command_as_it_has_to_be_typed(page: Path) -> None:
    """Pages write `./ocmt`, which a checkout has; no `ocmt` is installed on the PATH."""
    words = "|".join((*COMMANDS, "[A-Z]+"))
    bare = re.compile(rf"(?<![\w./-])ocmt\s(?:{words})\b.*")
    assert [match[0] for code in code_in(page) if (match := bare.search(code))] == []


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if any("```" in code and "./ocmt" in code for code in code_in(page))],
    ids=lambda page: page.name,
)
def test_a_page_with_commands_says_where_they_are_run(page: Path) -> None:
    said = " ".join(text_of(page).split())
    assert "checkout of this repository" in said or "git clone" in said


def test_the_readme_names_every_command() -> None:
    assert {words[0] for words in commands_named_in(ROOT / "README.md")} == set(COMMANDS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_of_a_page_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", text_of(page)):
        if re.match(r"[a-z]+:", target) or target.startswith("#"):
            continue
        assert (page.parent / target.partition("#")[0]).exists(), f"{page.name} → {target}"


# Written apart, so that this file does not contain them.
FORBIDDEN = {
    "a machine's own path": re.compile(
        "/" + r"(?:home/(?!node\b)[a-z]+|Users/[A-Za-z]+|work|root)/"
    ),
    "a package registry's address": re.compile(
        "|".join((r"registry\.npm" + r"js", r"pypi\." + r"org", r"files\.python" + r"hosted"))
    ),
}


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_tracked_file_contains(what: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}: {match.group(0)}"
        for path in tracked()
        if (match := FORBIDDEN[what].search(text_of(path)))
    ]
    assert found == []


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_every_locked_package_is_pinned_and_hashed(lock: Path) -> None:
    entries = re.split(r"\n(?=\S)", lock.read_text(encoding="utf-8").strip())
    assert entries
    for entry in entries:
        assert re.match(r"[a-z0-9._-]+(\[[a-z,]+\])?==\S+", entry), entry.splitlines()[0]
        assert "--hash=sha256:" in entry, entry.splitlines()[0]
        assert "://" not in entry


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_every_lock_has_the_versions_that_the_tests_run_with(lock: Path) -> None:
    def versions(path: Path) -> set[str]:
        return set(re.findall(r"^(\S+==\S+)", path.read_text(encoding="utf-8"), re.M))

    assert versions(lock) <= versions(ROOT / "requirements" / "dev.lock")


def test_every_declared_dependency_is_in_the_locks_that_are_for_it() -> None:
    lock = script("lock")
    assert {f"{name}.lock" for name in lock.LOCKS} == {path.name for path in LOCKS}
    for name in lock.LOCKS:
        locked = set(
            re.findall(r"^([a-z0-9._-]+)", text_of(ROOT / f"requirements/{name}.lock"), re.M)
        )
        declared = {lock.name_of(requirement) for requirement in lock.requirements(name)}
        assert declared <= locked, f"run .venv/bin/python scripts/lock.py for {name}.lock"


@pytest.mark.parametrize(
    ("requirement", "name"),
    [
        ("pydantic>=2.14", "pydantic"),
        ("sqlalchemy[asyncio]", "sqlalchemy"),
        ("Some_One", "some-one"),
    ],
)
def test_a_requirement_is_found_by_its_name_in_a_lock(requirement: str, name: str) -> None:
    assert script("lock").name_of(requirement) == name


def test_all_packages_have_one_version_and_the_changelog_has_it() -> None:
    files = sorted(ROOT.glob("*/pyproject.toml"))
    versions = {tomllib.loads(text_of(file))["project"]["version"] for file in files}
    assert len(versions) == 1
    headings = re.findall(r"^## \[(.+?)\](.*)$", text_of(ROOT / "CHANGELOG.md"), re.MULTILINE)
    assert headings[0] == ("Unreleased", "")
    released = headings[1:]
    assert [name for name, _ in released[:1]] in ([], [*versions])
    assert all(re.fullmatch(r" - \d{4}-\d\d-\d\d", date) for _, date in released)


NPM_LOCKS = [path for path in tracked() if path.name == "package-lock.json"]


@pytest.mark.parametrize("lock", NPM_LOCKS, ids=lambda lock: str(lock.relative_to(ROOT)))
def test_every_npm_package_is_hashed_and_bound_to_no_registry(lock: Path) -> None:
    for name, package in json.loads(text_of(lock))["packages"].items():
        assert "resolved" not in package, name
        assert name == "" or package.get("link") or package.get("inBundle") or package["integrity"]


def test_every_action_of_the_workflows_is_pinned_to_a_commit() -> None:
    workflows = list((ROOT / ".github" / "workflows").glob("*.yml"))
    uses = [use for one in workflows for use in re.findall(r"uses:\s*(\S+)", text_of(one))]
    assert uses
    assert [use for use in uses if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", use)] == []


def test_the_tiers_budgets_are_those_of_the_command() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    documented = dict(re.findall(r"^\| `(\w+)` \|.*\| (\d+) s \|$", text, re.M))
    assert documented == {name: str(tier.budget_s) for name, tier in TIERS.items()}
