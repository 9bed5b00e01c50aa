"""docs/security.md answers every requirement of ASVS in its chapters with tests that exist."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
VERDICTS = {"holds", "partly", "no", "n/a"}
# The requirements of levels 1 and 2 in ASVS 5.0, by section.
REQUIRED = {
    "3.2": [1, 2], "3.3": [1, 2, 3, 4], "3.4": [1, 2, 3, 4, 5, 6], "3.5": [1, 2, 3, 4, 5],
    "3.7": [1, 2],
    "6.1": [1, 2, 3], "6.2": [*range(1, 13)], "6.3": [1, 2, 3, 4], "6.4": [1, 2, 3, 4],
    "6.5": [1, 2, 3, 4, 5], "6.6": [1, 2, 3], "6.8": [1, 2, 3, 4],
    "7.1": [1, 2, 3], "7.2": [1, 2, 3, 4], "7.3": [1, 2], "7.4": [1, 2, 3, 4, 5], "7.5": [1, 2],
    "7.6": [1, 2],
    "8.1": [1, 2], "8.2": [1, 2, 3], "8.3": [1], "8.4": [1],
    "11.1": [1, 2], "11.2": [1, 2, 3], "11.3": [1, 2, 3], "11.4": [1, 2, 3, 4], "11.5": [1],
    "11.6": [1],
    "13.1": [1], "13.2": [1, 2, 3, 4, 5], "13.3": [1, 2], "13.4": [1, 2, 3, 4, 5],
    "14.1": [1, 2], "14.2": [1, 2, 3, 4], "14.3": [1, 2, 3],
    "16.1": [1], "16.2": [1, 2, 3, 4, 5], "16.3": [1, 2, 3, 4], "16.4": [1, 2, 3],
    "16.5": [1, 2, 3],
}  # fmt: skip
ROW = re.compile(
    r"^\| (\d+\.\d+)\.(\d+)(?:–\1\.(\d+))? \| (.+?) \| (.+?) \| (.+) \|$", re.MULTILINE
)
NAMED = sorted(set(re.findall(r"`([\w/.-]+\.(?:py|ts))::([^`]+)`", PAGE)))


def answered() -> list[str]:
    return [
        f"{section}.{number}"
        for section, first, last, *_ in ROW.findall(PAGE)
        for number in range(int(first), int(last or first) + 1)
    ]


@cache
def named_in(path: str) -> frozenset[str]:
    """`name` or `Class::name`; for a test file of the page, the text of each `it`."""
    text = (ROOT / path).read_text(encoding="utf-8")
    if path.endswith(".ts"):
        return frozenset(re.findall(r"\bit\(\s*\"([^\"]+)\"", text))
    found = set()
    for node in ast.parse(text).body:
        inside = node.body if isinstance(node, ast.ClassDef) else [node]
        above = f"{node.name}::" if isinstance(node, ast.ClassDef) else ""
        for one in inside:
            if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef):
                found.add(above + one.name)
    return frozenset(found)


def test_every_requirement_is_answered_once() -> None:
    expected = [
        f"{section}.{number}" for section, numbers in REQUIRED.items() for number in numbers
    ]
    assert len(expected) == 131
    assert answered() == expected


def test_every_answer_is_a_verdict_with_a_test_or_a_reason() -> None:
    for section, number, _, asks, verdict, by in ROW.findall(PAGE):
        assert verdict in VERDICTS, f"{section}.{number}"
        assert len(asks) > 5, f"{section}.{number}"
        assert by.strip(), f"{section}.{number}"


@pytest.mark.parametrize(("path", "name"), NAMED, ids=[f"{path}::{name}" for path, name in NAMED])
def test_every_test_that_the_page_names_exists(path: str, name: str) -> None:
    assert (ROOT / path).is_file(), path
    assert name in named_in(path)


def test_it_names_tests_of_every_chapter() -> None:
    assert len(NAMED) > 60
