"""What comes from a provider is used only as far as it is well-formed."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from ocmt_management.integrations.catalogue import shipped
from ocmt_management.integrations.flows import missing_scopes
from ocmt_management.integrations.models import ConnectionState
from ocmt_management.integrations.oauth_http import is_secure
from ocmt_management.integrations.oauth_protocol import (
    CallbackRefused,
    Client,
    Refused,
    Tokens,
    account_of,
    authorization_url,
    code_of,
    code_request,
    read_tokens,
    revocation_requests,
)
from ocmt_management.integrations.provider_schema import Identity, OAuth, Revocation
from ocmt_management.integrations.token_state import (
    Failure,
    Shown,
    Standing,
    Step,
    failure_of,
    next_step,
    shown_state,
)
from ocmt_management.vault.service import SecretValue

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
SERVER = OAuth(
    authorize_url="https://as.example/authorize?tenant=1",
    token_url="https://as.example/token",
    issuer="https://as.example",
    resource="https://mcp.example/mcp",
)


@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        ({"code": "c", "iss": "https://as.example/"}, "issuer-wrong"),
        ({"code": "c", "iss": "https://AS.example"}, "issuer-wrong"),
        ({"code": "c", "iss": "https://evil.example"}, "issuer-wrong"),
        ({"code": "c", "iss": ""}, "issuer-wrong"),
        ({"error": "access_denied", "iss": "https://evil.example"}, "issuer-wrong"),
        ({"error": "access_denied"}, "refused"),
        ({"error": "server_error", "error_description": "x\x1b[0m"}, "provider-error"),
        ({}, "provider-error"),
        ({"code": ""}, "provider-error"),
        ({"code": "c" * 10_000}, "provider-error"),
    ],
)
def test_a_callback_that_may_not_be_used(parameters: dict[str, str], code: str) -> None:
    with pytest.raises(CallbackRefused) as caught:
        code_of(parameters, SERVER)
    assert caught.value.code == code
    assert caught.value.text.isprintable()


def test_an_issuer_that_was_promised_has_to_be_there() -> None:
    promised = SERVER.model_copy(update={"issuer_required": True})
    with pytest.raises(CallbackRefused):
        code_of({"code": "c"}, promised)
    assert code_of({"code": "c", "iss": "https://as.example"}, promised) == "c"
    assert code_of({"code": "c"}, SERVER) == "c"


def test_the_resource_is_named_in_every_request() -> None:
    client = Client(id="c")
    url = authorization_url(
        SERVER, client, redirect_uri="https://o/cb", state="s", verifier="v" * 43, scopes=("a", "b")
    )
    assert url.startswith("https://as.example/authorize?tenant=1&")
    assert "resource=https%3A%2F%2Fmcp.example%2Fmcp" in url
    body = code_request(SERVER, client, code="c", verifier="v", redirect_uri="https://o/cb").body
    assert body is not None
    assert b"resource=https%3A%2F%2Fmcp.example%2Fmcp" in body
    assert b"client_id=c" in body, "a client without a secret names itself"


@pytest.mark.parametrize(
    "body",
    [
        b"<html>Sign in to the network</html>", b"", b"[]", b"null", b'"x"', b"\xff\xfe",
        b'{"access_token": ""}', b'{"access_token": 7}', b'{"access_token": "a b"}',
        b'{"access_token": "a\\nX-Evil: 1"}', b'{"access_token": "\xc3\xa9"}',
        json.dumps({"access_token": "x" * 7000}).encode(),
        b'{"access_token": "x", "refresh_token": ["y"]}',
        b'{"access_token": "x", "token_type": "DPoP"}',
        b'{"access_token": "x", "token_type": {}}',
        b"[" * 100_000,
    ],
)  # fmt: skip
def test_an_answer_without_usable_tokens_is_no_statement_about_the_grant(body: bytes) -> None:
    found = read_tokens(SERVER, body, now=NOW)
    assert isinstance(found, Refused)
    assert failure_of(found.error) is Failure.PASSING


@pytest.mark.parametrize("expires_in", [None, 0, -5, "soon", [], {}, True, 1e300, "1e400", "nan"])
def test_an_expiry_that_is_none(expires_in: object) -> None:
    text = json.dumps({"access_token": "x", "expires_in": expires_in}).encode()
    found = read_tokens(SERVER, text, now=NOW)
    assert isinstance(found, Tokens)
    assert found.expires_at is None or expires_in is True


def test_no_more_scopes_are_kept_than_can_be_stored() -> None:
    for separator in (" ", ","):
        oauth = SERVER.model_copy(update={"scope_in_answer": separator})
        many = separator.join(f"scope-{number:06}" for number in range(5000))
        text = json.dumps({"access_token": "x", "scope": many}).encode()
        found = read_tokens(oauth, text, now=NOW)
        assert isinstance(found, Tokens)
        assert found.scopes is not None
        assert len(found.scopes) > 100
        assert len(" ".join(found.scopes)) < 4000


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        ("invalid_grant", Failure.GRANT), ("invalid_client", Failure.CLIENT),
        ("unauthorized_client", Failure.CLIENT), ("temporarily_unavailable", Failure.PASSING),
        ("server_error", Failure.PASSING), ("slow_down", Failure.PASSING), (None, Failure.PASSING),
        ("bad_refresh_token", Failure.PASSING),
    ],
)  # fmt: skip
def test_only_what_says_so_is_about_the_grant(error: str | None, failure: Failure) -> None:
    assert failure_of(error) is failure
    assert failure_of("bad_refresh_token", ("bad_refresh_token",)) is Failure.GRANT


@pytest.mark.parametrize(
    "body",
    [b"<html>", b"{}", b'{"sub": null}', b'{"sub": {}}', b'{"sub": ""}', b'{"sub": true}', b"[1]"],
)
def test_an_account_without_an_id_is_none(body: bytes) -> None:
    identity = Identity(url="https://as.example/me", id="sub", label="email")
    assert account_of(identity, body) is None


def test_an_account_is_shown_without_control_characters_and_by_its_id_at_worst() -> None:
    identity = Identity(url="https://as.example/me", id="sub", label="email", ok_member="ok")
    assert account_of(identity, b'{"ok": true, "sub": 7, "email": "a\\u001bb"}') == ("7", "a b")
    assert account_of(identity, b'{"ok": true, "sub": "x"}') == ("x", "x")
    assert account_of(identity, b'{"ok": false, "sub": "x"}') is None


def test_both_tokens_are_revoked_where_the_standard_is_followed() -> None:
    oauth = SERVER.model_copy(
        update={"revocation": Revocation(style="rfc7009", url="https://as.example/revoke")}
    )
    bodies = [
        one.body
        for one in revocation_requests(
            oauth, Client(id="c"), access=SecretValue("aa"), refresh=SecretValue("rr")
        )
    ]
    assert [b"token=rr" in (body or b"") for body in bodies] == [True, False]
    assert revocation_requests(SERVER, Client(id="c"), access=SecretValue("a"), refresh=None) == []


def test_scopes_that_were_not_granted_are_told() -> None:
    microsoft = shipped()["microsoft"]
    granted = ("https://graph.microsoft.com/User.Read", "mail.send")
    asked = ("offline_access", "User.Read", "Mail.Send", "Files.Read")
    assert missing_scopes(microsoft, asked, granted) == ("Files.Read",)


@pytest.mark.parametrize(
    ("url", "fine"),
    [
        ("https://as.example/token", True), ("http://as.example/token", False),
        ("http://notes.lan/token", True), ("http://notes.lan.evil.example/", False),
        ("file:///etc/passwd", False), ("https://", False), ("https://[", False), ("//x/y", False),
    ],
)  # fmt: skip
def test_credentials_go_over_https_or_to_private_hosts_that_are_allowed(
    url: str, fine: bool
) -> None:
    assert is_secure(url, frozenset({"notes.lan"})) is fine


def standing(
    *, left: timedelta | None, refreshable: bool = True, lease: timedelta | None = None,
    state: ConnectionState = ConnectionState.OK,
) -> Standing:  # fmt: skip
    return Standing(
        state=state,
        token_version=3,
        expires_at=None if left is None else NOW + left,
        refreshable=refreshable,
        lease_until=None if lease is None else NOW + lease,
    )


MINUTE = timedelta(minutes=1)


@pytest.mark.parametrize(
    ("now", "refused", "step"),
    [
        (standing(left=None), None, Step.USE),
        (standing(left=60 * MINUTE), None, Step.USE),
        (standing(left=MINUTE), None, Step.REFRESH),
        (standing(left=-MINUTE), None, Step.REFRESH),
        (standing(left=MINUTE, lease=MINUTE), None, Step.USE),
        (standing(left=-MINUTE, lease=MINUTE), None, Step.WAIT),
        (standing(left=-MINUTE, lease=-MINUTE), None, Step.REFRESH),
        (standing(left=-MINUTE, refreshable=False), None, Step.BROKEN),
        (standing(left=MINUTE, refreshable=False), None, Step.USE),
        (standing(left=60 * MINUTE), 3, Step.REFRESH),
        (standing(left=60 * MINUTE), 2, Step.USE),
        (standing(left=60 * MINUTE, lease=MINUTE), 3, Step.WAIT),
        (standing(left=None, refreshable=False), 3, Step.BROKEN),
        (standing(left=60 * MINUTE, state=ConnectionState.RECONNECT), None, Step.BROKEN),
    ],
)
def test_what_to_do_before_a_token_is_used(now: Standing, refused: int | None, step: Step) -> None:
    assert next_step(now, NOW, refused_version=refused) is step


@pytest.mark.parametrize(
    ("now", "shown"),
    [
        (standing(left=-MINUTE), Shown.OK),
        (standing(left=None, refreshable=False), Shown.OK),
        (standing(left=timedelta(days=2), refreshable=False), Shown.EXPIRING),
        (standing(left=timedelta(days=9), refreshable=False), Shown.OK),
        (standing(left=-MINUTE, refreshable=False), Shown.RECONNECT),
        (standing(left=None, state=ConnectionState.RECONNECT), Shown.RECONNECT),
    ],
)
def test_the_state_that_people_see(now: Standing, shown: Shown) -> None:
    assert shown_state(now, NOW) is shown
