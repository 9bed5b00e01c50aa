"""A server's metadata lead to its own authorization server, or nowhere."""

from typing import Any

import pytest
from ocmt_management.integrations.resource_metadata import (
    Challenge,
    MetadataWrong,
    auth_method_of,
    provider_of_resource,
    read_challenge,
    read_resource,
    read_server,
    resource_metadata_urls,
    scopes_to_ask,
    server_metadata_urls,
)

SERVER: dict[str, Any] = {
    "issuer": "https://as.example/t1",
    "authorization_endpoint": "https://as.example/t1/auth",
    "token_endpoint": "https://as.example/t1/token",
    "code_challenge_methods_supported": ["S256"],
    "scopes_supported": ["offline_access", "notes"],
    "authorization_response_iss_parameter_supported": True,
}


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (
            'Bearer resource_metadata="https://m.example/.well-known/x", scope="a b"',
            Challenge(metadata_url="https://m.example/.well-known/x", scopes=("a", "b")),
        ),
        ('Bearer error="invalid_token"', Challenge(error="invalid_token")),
        (
            'Bearer scope="w", error="insufficient_scope"',
            Challenge(scopes=("w",), error="insufficient_scope"),
        ),
        ("Bearer scope=read", Challenge(scopes=("read",))),
        ("", Challenge()),
        ('Bearer scope="', Challenge()),
    ],
)
def test_a_challenge(header: str, expected: Challenge) -> None:
    assert read_challenge(header) == expected


def test_where_metadata_may_be() -> None:
    assert resource_metadata_urls("https://m.example/a/mcp") == [
        "https://m.example/.well-known/oauth-protected-resource/a/mcp",
        "https://m.example/.well-known/oauth-protected-resource",
    ]
    assert server_metadata_urls("https://as.example/t1")[0] == (
        "https://as.example/.well-known/oauth-authorization-server/t1"
    )


@pytest.mark.parametrize(
    ("resource", "fine"),
    [
        ("https://m.example/mcp", True), ("https://m.example/", True), ("https://m.example", True),
        ("https://m.example/mc", False), ("https://m.example/mcp/other", False),
        ("https://evil.example/mcp", False), ("http://m.example/mcp", False),
        ("https://m.example:444/mcp", False), ("https://m.example/mcp#x", False), (None, False),
    ],
)  # fmt: skip
def test_metadata_of_another_server_are_refused(resource: str | None, fine: bool) -> None:
    document = {"resource": resource, "authorization_servers": ["https://as.example/t1"]}
    if fine:
        found = read_resource(document, "https://m.example/mcp")
        assert (found.resource, found.issuer) == (resource, "https://as.example/t1")
    else:
        with pytest.raises(MetadataWrong):
            read_resource(document, "https://m.example/mcp")


@pytest.mark.parametrize(
    "change",
    [
        {"issuer": "https://as.example/t1/"}, {"issuer": "https://evil.example"},
        {"token_endpoint": None}, {"authorization_endpoint": 7},
        {"code_challenge_methods_supported": ["plain"]}, {"code_challenge_methods_supported": None},
    ],
)  # fmt: skip
def test_an_authorization_server_that_may_not_be_used(change: dict[str, Any]) -> None:
    with pytest.raises(MetadataWrong):
        read_server({**SERVER, **change}, "https://as.example/t1")


@pytest.mark.parametrize(
    ("authorize", "own"),
    [
        ("https://as.example/auth", True), ("https://as.example:443/auth", True),
        ("https://AS.example/auth", True), ("https://honest.example/auth", False),
        ("https://as.example:444/auth", False), ("http://as.example/auth", False),
        ("https://as.example.evil.example/auth", False), ("https://as.example:x/auth", False),
        ("https://as.example@honest.example/auth", False),
    ],
)  # fmt: skip
def test_people_are_sent_to_the_issuer_itself_unless_answers_name_it(
    authorize: str, own: bool
) -> None:
    mixed = {**SERVER, "authorization_endpoint": authorize}
    assert read_server(mixed, "https://as.example/t1").sends_issuer
    unnamed = {**mixed, "authorization_response_iss_parameter_supported": False}
    if own:
        assert not read_server(unnamed, "https://as.example/t1").sends_issuer
    else:
        with pytest.raises(MetadataWrong):
            read_server(unnamed, "https://as.example/t1")


def test_a_server_becomes_a_provider() -> None:
    resource = read_resource(
        {
            "resource": "https://m.example/mcp",
            "authorization_servers": ["https://as.example/t1"],
            "scopes_supported": ["notes"],
        },
        "https://m.example/mcp",
    )
    server = read_server(SERVER, "https://as.example/t1")
    provider = provider_of_resource("Notes", resource, server, auth_method="none")
    assert provider.oauth is not None
    assert (provider.oauth.issuer_required, provider.oauth.client_auth) == (True, "none")
    assert provider.oauth.resource == "https://m.example/mcp"
    assert scopes_to_ask(Challenge(), resource, server) == ("notes", "offline_access")
    assert scopes_to_ask(Challenge(scopes=()), resource, server) == ()
    assert auth_method_of(server, document=True) == "none"
    assert auth_method_of(server, document=False) == "client_secret_basic"
    with pytest.raises(ValueError):
        provider_of_resource(
            "x", resource, read_server({**SERVER, "token_endpoint": "javascript:x"}, server.issuer),
            auth_method="none",
        )  # fmt: skip
