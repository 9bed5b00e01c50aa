"""Finding out how to sign in to a tool server, with answers that a test scripts."""

import json
from typing import Any

import pytest
from ocmt_common.problems import Problem
from ocmt_management.integrations.oauth_http import Answer
from ocmt_management.integrations.oauth_protocol import HttpRequest
from ocmt_management.integrations.resource_discovery import ResourceDiscovery
from ocmt_management.integrations.resource_metadata import issuer_tag

SERVER = "https://m.example/mcp"
ISSUER = "https://as.example"
CALLBACK = "https://ocmt.example/api/connections/callback"
DOCUMENT = "https://ocmt.example/api/connections/client-metadata"
TAG = issuer_tag(ISSUER)
METADATA: dict[str, Any] = {
    "issuer": ISSUER,
    "authorization_endpoint": f"{ISSUER}/auth",
    "token_endpoint": f"{ISSUER}/token",
    "registration_endpoint": f"{ISSUER}/register",
    "code_challenge_methods_supported": ["S256"],
}


class World:
    """The tool server and its authorization server."""

    def __init__(self, *, asks_at: str = "initialize", **metadata: Any) -> None:
        self.asks_at = asks_at
        self.metadata = {**METADATA, **metadata}
        self.asked: list[HttpRequest] = []

    async def send(self, request: HttpRequest, **_: Any) -> Answer:
        self.asked.append(request)
        path = request.url.removeprefix("https://")
        if path == "m.example/mcp":
            return self._mcp(request)
        found: dict[str, Any] = {
            "m.example/.well-known/oauth-protected-resource/mcp": {
                "resource": SERVER,
                "authorization_servers": [ISSUER],
            },
            "as.example/.well-known/oauth-authorization-server": self.metadata,
            "as.example/register": {"client_id": "registered", "client_secret": "s"},
        }
        if path not in found:
            return Answer(status=404, headers={}, body=b"")
        return Answer(status=200, headers={}, body=json.dumps(found[path]).encode())

    def _mcp(self, request: HttpRequest) -> Answer:
        headers = {name.lower(): value for name, value in request.headers}
        method = json.loads(request.body or b"")["method"]
        assert headers["mcp-method"] == method
        if method == self.asks_at:
            challenge = 'Bearer scope="notes", error="invalid_token"'
            return Answer(status=401, headers={"www-authenticate": challenge}, body=b"")
        if method == "tools/list":
            assert headers.get("mcp-session-id") == "s1"
            assert headers["mcp-protocol-version"] == "2025-11-25"
        return Answer(status=200, headers={"mcp-session-id": "s1"}, body=b"{}")

    async def sign_in(self, document_url: str | None = DOCUMENT) -> Any:
        discovery = ResourceDiscovery(
            self,  # type: ignore[arg-type]
            redirect_uri=CALLBACK,
            document_url=document_url,
        )
        return await discovery.sign_in_to("Notes", SERVER)


@pytest.mark.parametrize("asks_at", ["initialize", "tools/list"])
async def test_a_server_may_ask_at_its_first_or_at_a_later_request(asks_at: str) -> None:
    found = await World(asks_at=asks_at).sign_in()
    assert found.scopes == ("notes",)
    assert found.client.id == "registered"


async def test_a_server_that_asks_for_nothing_is_not_signed_in_to() -> None:
    with pytest.raises(Problem, match="does not ask for a sign-in"):
        await World(asks_at="never").sign_in()


async def test_a_server_of_the_new_revision_only_is_asked_in_it() -> None:
    class Modern(World):
        def _mcp(self, request: HttpRequest) -> Answer:
            headers = dict(request.headers)
            body = json.loads(request.body or b"")
            if body["method"] == "initialize":
                return Answer(status=400, headers={}, body=b"{}")
            assert headers["MCP-Protocol-Version"] == "2026-07-28"
            meta = body["params"]["_meta"]
            assert meta["io.modelcontextprotocol/protocolVersion"] == "2026-07-28"
            return Answer(status=401, headers={}, body=b"")

    assert (await Modern().sign_in()).client.id == "registered"


@pytest.mark.parametrize(
    ("supported", "document_url", "client"),
    [
        (True, DOCUMENT, f"{DOCUMENT}/{TAG}"), (True, None, "registered"),
        (False, DOCUMENT, "registered"), ("yes", DOCUMENT, "registered"),
    ],
)  # fmt: skip
async def test_a_client_document_stands_for_registering(
    supported: object, document_url: str | None, client: str
) -> None:
    world = World(client_id_metadata_document_supported=supported)
    found = await world.sign_in(document_url)
    assert found.client.id == client
    registrations = [json.loads(r.body or b"") for r in world.asked if r.url.endswith("/register")]
    assert len(registrations) == (client == "registered")
    for one in registrations:
        assert one["redirect_uris"] == [f"{CALLBACK}/{TAG}"]
        assert one["grant_types"] == ["authorization_code", "refresh_token"]


async def test_metadata_that_send_people_to_an_honest_server_are_refused() -> None:
    mixed = World(authorization_endpoint="https://honest.example/auth")
    with pytest.raises(Problem, match="sends people to another host"):
        await mixed.sign_in()
    assert not any(request.url.endswith("/register") for request in mixed.asked)
