"""Paths within a workspace, as a browser sends them."""

import pytest
from ocmt_agent.files.paths import is_plain, names_of, shown
from ocmt_common.problems import Problem


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("", []),
        ("notes.md", ["notes.md"]),
        ("memory/2026-11-30.md", ["memory", "2026-11-30.md"]),
        ("a b/ä/…/.hidden", ["a b", "ä", "…", ".hidden"]),
        ("%2e%2e/x", ["%2e%2e", "x"]),  # a name like any other: it was decoded already
        ("a\\b", ["a\\b"]),
    ],
)
def test_a_plain_path_is_its_names(path: str, names: list[str]) -> None:
    assert names_of(path) == names


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "..",
        "a/../b",
        "a/./b",
        "a//b",
        "a/",
        "a\x00b",
        "a\nb",
        "\x7f",
        "\udcff",
        "a" * 256,
        "ä" * 128,
        "a/" * 65 + "a",
        "a/" * 3000,
    ],
)
def test_any_other_path_is_refused(path: str) -> None:
    with pytest.raises(Problem) as refused:
        names_of(path)
    assert (refused.value.status, refused.value.code) == (422, "path-invalid")


@pytest.mark.parametrize("name", ["\udcff.txt", "a\nb", "\x1b[31m"])
def test_a_name_that_cannot_be_sent_is_shown_without_harm(name: str) -> None:
    assert not is_plain(name)
    assert is_plain(shown(name))
