"""What a person sees is what runs: arguments are written anew, and shown without tricks."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ocmt_management.tools.approval_arguments import (
    MAX_BYTES,
    ArgumentsRefused,
    canonical,
    shown,
)

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
ARGUMENTS = st.dictionaries(st.text(max_size=5), VALUES, max_size=4)


@given(ARGUMENTS)
def test_equal_arguments_are_equal_however_they_are_written(value: dict[str, Any]) -> None:
    turned = dict(reversed(value.items()))

    written = canonical(json.dumps(value).encode())

    assert written == canonical(json.dumps(turned, indent=3).encode())
    assert written == canonical(written)
    assert json.loads(written) == value


@given(ARGUMENTS)
def test_what_is_shown_is_what_runs(value: dict[str, Any]) -> None:
    written = canonical(json.dumps(value).encode())

    assert json.loads(shown(written)) == json.loads(written)


def test_of_a_name_given_twice_one_value_is_shown_and_run() -> None:
    written = canonical(b'{"to": "bob", "to": "eve"}')

    assert written == b'{"to":"eve"}'
    assert "bob" not in shown(written)


@pytest.mark.parametrize(
    "hidden",
    ["\u202e", "\u2066", "\u200b", "\u0000", "\u007f", "\u00ad", "\ufeff", "\U000e0041", "\u3164"],
)
def test_no_character_hides_or_reorders_another(hidden: str) -> None:
    written = canonical(json.dumps({"to": f"a{hidden}b"}).encode())

    assert hidden not in shown(written)
    assert "\\u" in shown(written)
    assert json.loads(shown(written)) == {"to": f"a{hidden}b"}


def test_other_languages_are_shown_as_they_are() -> None:
    assert "Größe 大 😀" in shown(canonical(json.dumps({"x": "Größe 大 😀"}).encode()))


@pytest.mark.parametrize(
    "arguments",
    [
        b"",
        b"[1]",
        b"null",
        b'{"a":',
        b"\xff\xfe",
        b'{"a":1e999}',
        b"[" * 5000 + b"]" * 5000,
        b'{"a":' * 5000 + b"1" + b"}" * 5000,
        b'{"a":"' + b"x" * MAX_BYTES + b'"}',
    ],
    ids=lambda text: repr(text[:12]),
)
def test_what_cannot_be_shown_is_refused(arguments: bytes) -> None:
    with pytest.raises(ArgumentsRefused, match=r"\w"):
        canonical(arguments)
