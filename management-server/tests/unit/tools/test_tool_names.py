"""Names of tools in the aggregate."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ocmt_management.tools.names import SLUG_PATTERN, numbered, public_name, slug_from


@given(st.lists(st.text(min_size=1, max_size=128), max_size=30), st.sampled_from(["a1", "a" * 20]))
def test_public_names_fit_openclaw_and_differ_without_regard_to_case(
    tools: list[str], slug: str
) -> None:
    taken: set[str] = set()
    for tool in tools:
        name = public_name(slug, tool, taken)
        assert re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]{0,57}", name), name
        assert name.startswith(f"{slug}__")
        assert name.lower() not in taken
        taken.add(name.lower())


def test_plain_names_stay_and_others_get_a_hash_of_their_own() -> None:
    assert public_name("notes", "readNote", set()) == "notes__readNote"
    dotted = public_name("notes", "a.b", set())
    assert dotted == public_name("notes", "a.b", set())
    assert dotted != public_name("notes", "a/b", set())
    assert public_name("notes", "READNOTE", {"notes__readnote"}) != "notes__READNOTE"


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("My Notes", "my-notes"),
        ("  GitHub!! ", "github"),
        ("OCMT", "my-ocmt"),
        ("笔记", "server"),
        ("7", "server"),
        ("a" * 60, "a" * 20),
        ("nineteen letters xy zz", "nineteen-letters-xy"),
    ],
)
def test_a_slug_is_made_from_a_name(name: str, slug: str) -> None:
    assert slug_from(name) == slug


@given(st.text(max_size=100))
def test_every_name_makes_a_slug(name: str) -> None:
    assert re.fullmatch(SLUG_PATTERN, slug_from(name))


def test_a_taken_slug_gets_a_number() -> None:
    assert numbered("notes", {"notes", "notes-2"}) == "notes-3"
    assert numbered("a" * 20, {"a" * 20}) == "a" * 18 + "-2"
