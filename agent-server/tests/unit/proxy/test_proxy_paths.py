import contextlib
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ocmt_agent.proxy.paths import ALLOWED, gateway_path, plain_query
from ocmt_common.problems import Problem

PREFIX = b"/api/containers/ada/proxy/"


FILE = "api/chat/media/outgoing/agent%3Amain%3Amain/0b8a3c1e-9a2b-4c3d-8e4f-5a6b7c8d9e0f/full"


@pytest.mark.parametrize(
    "path", ["", "healthz", "v1/chat/completions", "v1/models/a%20b", "v1/", FILE]
)
def test_a_plain_path_reaches_the_gateway_as_it_is(path: str) -> None:
    assert gateway_path(PREFIX + path.encode(), user_id="ada") == path


@pytest.mark.parametrize(
    "path",
    [
        "/healthz",
        "//",
        "v1//models",
        "v1/../api/v1/admin/rpc",
        "..",
        "v1/./x",
        "%2e%2e/api",
        "v1/%2E%2e/x",
        "v1%2f..%2fapi",
        "v1%5Cx",
        "v1\\x",
        "v1/%00",
        "v1/%252e%252e/x",
        "v1/%zz",
        "v1/%",
        "v1/\x01",
        "v1/%0d%0ax",
        "v1/é",
    ],
)
def test_a_path_that_could_mean_two_things_is_refused(path: str) -> None:
    with pytest.raises(Problem) as caught:
        gateway_path(PREFIX + path.encode(), user_id="ada")

    assert caught.value.status == 400


@pytest.mark.parametrize(
    "path",
    [
        "api/v1/admin/rpc",
        "API/v1/admin/rpc",
        "api",
        "api/chat/media",
        "api/chat/media/incoming/x",
        "api/chat/Media/outgoing/x",
        "chat",
        "tools/invoke",
        "V1/models",
        "hooks/agent",
        "v1.",
        "v1;x/models",
    ],
)
def test_other_paths_of_the_gateway_are_not_found(path: str) -> None:
    with pytest.raises(Problem) as caught:
        gateway_path(PREFIX + path.encode(), user_id="ada")

    assert caught.value.status == 404


@pytest.mark.parametrize(
    "raw",
    [b"/api/containers/bob/proxy/healthz", b"/api/containers/%61da/proxy/healthz", b"//", b""],
)
def test_a_path_that_names_the_user_in_another_spelling_is_refused(raw: bytes) -> None:
    with pytest.raises(Problem):
        gateway_path(raw, user_id="ada")


@given(st.text(alphabet="av1/.%2eEfFhooks\\;?#c5CzZ\x00 ", max_size=40))
def test_no_accepted_path_ever_leaves_what_is_allowed(path: str) -> None:
    try:
        accepted = gateway_path(PREFIX + path.encode(), user_id="ada")
    except Problem:
        return
    segments = unquote(accepted).split("/")
    assert accepted == "" or segments[0] in ALLOWED
    assert not {".", ".."} & set(segments)
    assert "\\" not in unquote(accepted)


@given(st.binary(max_size=40))
def test_whatever_the_bytes_a_path_is_accepted_or_refused(path: bytes) -> None:
    with contextlib.suppress(Problem):
        assert gateway_path(PREFIX + path, user_id="ada").isascii()


@pytest.mark.parametrize("query", ["", "a=1&b=%20", "x=/../y"])
def test_a_plain_query_passes_as_it_is(query: str) -> None:
    assert plain_query(query.encode()) == (f"?{query}" if query else "")


@pytest.mark.parametrize("query", [b"a b", b"\x00", b"a=\r\nx", "é".encode(), b"\x7f"])
def test_a_query_that_is_no_plain_text_is_refused(query: bytes) -> None:
    with pytest.raises(Problem) as caught:
        plain_query(query)

    assert caught.value.status == 400
