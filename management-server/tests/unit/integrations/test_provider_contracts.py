"""The catalogue sends each provider what the provider documents, and reads what it answers."""

import json
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from ocmt_management.integrations.catalogue import CatalogueError, read_provider, shipped
from ocmt_management.integrations.oauth_protocol import (
    Client,
    HttpRequest,
    Refused,
    Tokens,
    account_of,
    authorization_url,
    code_request,
    identity_request,
    read_tokens,
    refresh_request,
    revocation_requests,
)
from ocmt_management.integrations.provider_schema import Kind, OAuth
from ocmt_management.integrations.token_state import Failure, failure_of
from ocmt_management.settings import _OAUTH_PROVIDERS
from ocmt_management.vault.service import SecretValue

CONTRACTS: dict[str, dict[str, Any]] = tomllib.loads(
    (Path(__file__).parent / "provider_contracts.toml").read_text(encoding="utf-8")
)
CALLBACK = "https://ocmt.example/api/connections/callback"
CLIENT = Client(id="client", secret=SecretValue("client-secret"))
NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
ACCESS, REFRESH = SecretValue("the-access-token"), SecretValue("the-refresh-token")


def oauth_of(provider_id: str) -> OAuth:
    oauth = shipped()[provider_id].oauth
    assert oauth is not None
    return oauth


def described(request: HttpRequest) -> dict[str, Any]:
    """A request in the contract's words."""
    headers = {name.lower(): value for name, value in request.headers}
    kind = headers.get("content-type", "")
    if request.body is None:
        body, fields = "none", []
    elif kind == "application/json":
        body, fields = "json", sorted(json.loads(request.body))
    else:
        body, fields = "form", sorted(parse_qs(request.body.decode(), strict_parsing=True))
    scheme = headers.get("authorization", "").partition(" ")[0].lower()
    client = scheme or ("post" if "client_secret" in fields else "none")
    found = {"url": request.url, "client": client, "body": body, "fields": fields}
    assert headers["accept"] == "application/json"
    return {"method": request.method, **found}


def test_every_shipped_provider_has_a_contract() -> None:
    oauth = {name for name, provider in shipped().items() if provider.kind is Kind.OAUTH}
    assert set(CONTRACTS) == oauth == set(_OAUTH_PROVIDERS)
    assert set(shipped()) - oauth == {"own", "api-key"}


@pytest.mark.parametrize("provider_id", CONTRACTS)
def test_its_requests_are_those_that_the_provider_documents(provider_id: str) -> None:
    contract, provider, oauth = (
        CONTRACTS[provider_id], shipped()[provider_id], oauth_of(provider_id),
    )  # fmt: skip
    scopes = provider.chosen_scopes(None)
    url = authorization_url(
        oauth, CLIENT, redirect_uri=CALLBACK, state="s" * 43, verifier="v" * 43, scopes=scopes
    )
    sent = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
    place = url.partition("?")[0]

    scope = sent.pop(contract.get("scope_parameter", "scope"), "")
    challenge = sent.pop("code_challenge", None)
    assert {"url": place, **sent} == {
        **contract["authorize"], "client_id": "client", "redirect_uri": CALLBACK,
        "state": "s" * 43,
    }  # fmt: skip
    assert (challenge is None) == ("code_challenge_method" not in contract["authorize"])
    assert (
        challenge in (None, "qEcoNV7kXJAIWIJQ4EtkpHONj-YqyoQYuYBYaVCNIZ8") or len(challenge) == 43
    )
    assert scope.replace(",", " ").split() == list(scopes)
    assert "scope" not in sent
    if "required_scope" in contract:
        assert contract["required_scope"] in provider.chosen_scopes(())

    code = described(
        code_request(oauth, CLIENT, code="c", verifier="v" * 43, redirect_uri=CALLBACK)
    )
    refresh = described(refresh_request(oauth, CLIENT, refresh=REFRESH, redirect_uri=CALLBACK))
    assert code == {"method": "POST", **contract["code"]}
    assert refresh == {"method": "POST", **contract["refresh"]}
    revoke = revocation_requests(oauth, CLIENT, access=ACCESS, refresh=REFRESH)
    assert [described(one) for one in revoke] == contract["revoke"]
    assert bool(contract["revoke"]) != (oauth.revocation.by_hand is not None)
    assert provider.identity is not None
    identity = identity_request(provider.identity, ACCESS)
    assert {"method": identity.method, "url": identity.url} == contract["identity"]
    assert ("Authorization", "Bearer the-access-token") in identity.headers
    assert provider.api is not None
    assert sorted(provider.api.hosts) == contract["hosts"]


@pytest.mark.parametrize("provider_id", CONTRACTS)
def test_its_answers_are_understood(provider_id: str) -> None:
    contract, oauth = CONTRACTS[provider_id], oauth_of(provider_id)
    identity = shipped()[provider_id].identity
    assert identity is not None

    for answer, expected in (
        ("token_answer", contract["tokens"]),
        ("refresh_answer", contract["refreshed"]),
    ):
        found = read_tokens(oauth, contract[answer].encode(), now=NOW)
        assert isinstance(found, Tokens)
        assert found.access.reveal() == expected["access"]
        refresh = None if found.refresh is None else found.refresh.reveal()
        assert refresh == expected.get("refresh")
        seconds = None if found.expires_at is None else (found.expires_at - NOW).total_seconds()
        assert seconds == expected.get("seconds")
        assert (None if found.scopes is None else list(found.scopes)) == expected.get("scopes")
    assert account_of(identity, contract["identity_answer"].encode()) == tuple(contract["account"])
    for text in contract["over"]:
        refused = read_tokens(oauth, text.encode(), now=NOW)
        assert isinstance(refused, Refused)
        assert failure_of(refused.error, oauth.grant_errors) is Failure.GRANT


@pytest.mark.parametrize("provider_id", CONTRACTS)
def test_its_facts_name_the_page_they_are_from(provider_id: str) -> None:
    sources, contract = shipped()[provider_id].sources, CONTRACTS[provider_id]
    assert {"authorize", "token", "refresh", "revocation", "identity", "api"} <= set(sources)
    assert all(source.startswith("https://") for source in sources.values())
    for part, here in (
        ("authorize", "authorize"), ("code", "token"), ("refresh", "refresh"),
        ("revoke", "revocation"), ("identity", "identity"),
    ):  # fmt: skip
        assert contract[f"{part}_source"] == sources[here]
    assert ("pkce" in sources) == (not oauth_of(provider_id).pkce)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("name = ", "not TOML"),
        ('name = "X"\nkind = "oauth"\nsetup = ""', "oauth, identity and api"),
        ('name = "X"\nkind = "mcp"\nsetup = ""', "MCP"),
        ('name = "X"\nkind = "key"\nsetup = ""\ntoken_url = "https://x"', "token_url"),
        (
            'name = "X"\nkind = "key"\nsetup = ""\n[api]\nbase_url = "https://x"\nhosts = ["*"]',
            "hosts",
        ),
        (
            'name = "X"\nkind = "key"\nsetup = ""\n[api]\nbase_url = "file:///x"\nhosts = ["x"]',
            "base_url",
        ),
        (
            'name = "X"\nkind = "key"\nsetup = ""\n[identity]\nurl = "https://x"\nid = "a[0]"\n'
            'label = "b"',
            "path of members",
        ),
        (
            'name = "X"\nkind = "key"\nsetup = ""\n[[scopes]]\nid = "a b"\ntext = "x"',
            "scopes.0.id",
        ),
    ],
)
def test_a_wrong_file_is_refused_with_its_name_and_place(text: str, says: str) -> None:
    with pytest.raises(CatalogueError) as caught:
        read_provider("x.toml", text)
    assert "x.toml" in str(caught.value)
    assert says in str(caught.value)
