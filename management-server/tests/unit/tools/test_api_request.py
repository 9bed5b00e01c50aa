"""An agent's call of a provider's API: the token goes to the provider's hosts, and nowhere else."""

import json
from typing import Any

import pytest
from ocmt_management.integrations.catalogue import shipped
from ocmt_management.integrations.service import Answer, Api
from ocmt_management.tools.api_request import (
    ApiRefused,
    named_connection,
    read_call,
    result_of,
    with_credential,
)
from ocmt_management.vault.service import SecretValue

API = Api(
    base_url="https://api.example.com/v1",
    hosts=("api.example.com", "*.files.example.com", "own.example:8443"),
    headers=("X-Version",),
    default_headers={"X-Version": "7"},
)
_slack = shipped()["slack"].api
assert _slack is not None
SLACK = _slack
TOKEN = SecretValue("secret-token-0123")


def call(**arguments: Any) -> bytes:
    return json.dumps({"connection": "example", **arguments}).encode()


def url_of(url: str, **more: Any) -> str:
    return read_call(call(url=url, **more), API, private_hosts=frozenset({"api.example.com"})).url


@pytest.mark.parametrize(
    ("url", "full"),
    [
        ("/user", "https://api.example.com/v1/user"),
        ("user?a=1", "https://api.example.com/v1/user?a=1"),
        ("https://api.example.com/v2/x", "https://api.example.com/v2/x"),
        ("https://API.EXAMPLE.COM./x", "https://api.example.com/x"),
        ("https://a.files.example.com/x", "https://a.files.example.com/x"),
        ("https://own.example:8443/x", "https://own.example:8443/x"),
        ("/a b/ü", "https://api.example.com/v1/a%20b/%C3%BC"),
        ("http://api.example.com/x", "http://api.example.com/x"),
        ("/x#part", "https://api.example.com/v1/x"),
    ],
)
def test_addresses_of_the_provider(url: str, full: str) -> None:
    assert url_of(url) == full


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/", "https://api.example.com.evil.example/",
        "https://evil.example/api.example.com", "https://api.example.com@evil.example/",
        "https://user:pass@api.example.com/", "https://api.example.com:444/x",
        "https://files.example.com/x", "https://xfiles.example.com/", "https://own.example/x",
        "//evil.example/x", "https:\\\\evil.example", "https://api.example.com\\@evil.example/",
        "http://own.example:8443/x", "ftp://api.example.com/", "https://[::1]/", "https://[",
        "https://api.example.com:x/", "/x\n/y", "", " ", "/" + "x" * 9000,
    ],
)  # fmt: skip
def test_addresses_of_others(url: str) -> None:
    with pytest.raises(ApiRefused):
        url_of(url)


@pytest.mark.parametrize(
    ("more", "tool"),
    [
        ({}, "read"), ({"method": "get"}, "read"), ({"method": "HEAD"}, "read"),
        ({"method": "POST"}, "change"), ({"method": "delete"}, "change"),
    ],
)  # fmt: skip
def test_the_rule_follows_the_method(more: dict[str, Any], tool: str) -> None:
    assert named_connection(call(url="/x", **more)) == ("example", tool)
    assert read_call(call(url="/x", **more), API, private_hosts=frozenset()).tool == tool


@pytest.mark.parametrize(
    "url",
    [
        "/auth.test", "/users.list?limit=5", "/conversations.history", "/users.profile.get",
        "/search.messages", "/users.lookupByEmail", "/chat.scheduledMessages.list",
        "https://files.slack.com/files-pri/T1-F1/a%20b.png",
    ],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_listed_method_of_slack_is_read(url: str, method: str) -> None:
    assert read_call(call(url=url, method=method), SLACK, private_hosts=frozenset()).tool == "read"


@pytest.mark.parametrize(
    "url",
    [
        "/chat.postMessage", "/chat.postMessage?channel=C1&text=x", "/chat%2EpostMessage",
        "/chat%252EpostMessage", "/users.list/../chat.postMessage",
        "/users.list%2F..%2Fchat.delete",
        "https://slack.com//api/chat.postMessage", "https://slack.com/api//chat.postMessage",
        "https://slack.com/api/users.list/", "https://slack.com/api/chat.postMessage/users.list",
        "https://slack.com/files-pri/../api/chat.postMessage",
        "https://slack.com/files-pri/%2e%2e/api/chat.postMessage",
        "https://slack.com/files-pri/%252e%252e/api/chat.postMessage",
        "https://slack.com/files-pri/..%2Fapi/chat.postMessage",
        "https://slack.com/files-pri/..%5Capi/chat.postMessage",
        "https://slack.com/files-pri/..;/api/chat.postMessage",
        "/files.getUploadURLExternal", "/auth.revoke", "/conversations.join", "/",
        "/users.list%0A", "/users.list;x", "/us%65rs.list",
    ],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_method_of_slack_that_may_change_something_is_not_read(url: str, method: str) -> None:
    with pytest.raises(ApiRefused, match="Use POST"):
        read_call(call(url=url, method=method), SLACK, private_hosts=frozenset())
    posted = call(url=url, method="POST")
    assert named_connection(posted) == ("example", "change")
    assert read_call(posted, SLACK, private_hosts=frozenset()).tool == "change"


@pytest.mark.parametrize(
    "more",
    [
        {"method": "TRACE"}, {"method": 7}, {"headers": {"Authorization": "Bearer x"}},
        {"headers": {"X-HTTP-Method-Override": "DELETE"}}, {"headers": {"Host": "evil"}},
        {"headers": {"Cookie": "x"}}, {"headers": {"Accept": "a\r\nX: y"}}, {"headers": []},
        {"body": "x"}, {"query": "a=b"}, {"query": {"a": {}}}, {"other": 1},
        {"method": "POST", "body": "x" * 2_000_000},
    ],
)  # fmt: skip
def test_what_may_not_be_sent(more: dict[str, Any]) -> None:
    with pytest.raises(ApiRefused):
        read_call(call(url="/x", **more), API, private_hosts=frozenset())


@pytest.mark.parametrize("arguments", [b"", b"[]", b"{", b'{"url": "/x"}', b"[" * 1000])
def test_arguments_that_name_no_connection(arguments: bytes) -> None:
    with pytest.raises(ApiRefused):
        named_connection(arguments)


def test_a_request_has_the_credential_and_what_was_given() -> None:
    arguments = call(
        url="/x?a=1", method="PATCH", query={"b": [1, "ü"], "c": True}, body={"n": 1},
        headers={"x-version": "8"},
    )  # fmt: skip
    read = read_call(arguments, API, private_hosts=frozenset())
    request = with_credential(read, API, TOKEN)
    headers = dict(request.headers)
    assert request.url == "https://api.example.com/v1/x?a=1&b=1&b=%C3%BC&c=true"
    assert (request.method, request.body) == ("PATCH", b'{"n": 1}')
    assert headers["Authorization"] == "Bearer secret-token-0123"
    assert (headers["x-version"], headers["Content-Type"]) == ("8", "application/json")
    assert "X-Version" not in headers
    assert "secret-token" not in repr(request) + repr(read)
    key = Api(base_url="https://k", hosts=("k",), credential_header="X-Key", credential_prefix="")
    keyed = read_call(call(url="/"), key, private_hosts=frozenset())
    assert ("X-Key", "secret-token-0123") in with_credential(keyed, key, TOKEN).headers


def test_a_result_never_has_the_token() -> None:
    for kind, body in (
        ("application/json", b'{"you sent": "Bearer secret-token-0123"}'),
        ("text/html", b"<p>secret-token-0123</p>"),
        ("image/png", b"\x89PNG secret-token-0123"),
    ):
        headers = {"content-type": kind, "set-cookie": "a=b", "location": "/secret-token-0123"}
        found = result_of(Answer(status=200, headers=headers, body=body), TOKEN)
        assert b"secret-token-0123" not in found
        assert b"set-cookie" not in found
    long = result_of(Answer(status=404, headers={}, body=b"x", whole=False), TOKEN)
    assert json.loads(long)["isError"] is True
    assert "Only the first" in json.loads(long)["content"][0]["text"]
