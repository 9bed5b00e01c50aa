"""Finds how to sign in to an MCP server, and registers OCMT as a client there."""

import json
from dataclasses import dataclass
from typing import Any

from ocmt_common.problems import Problem

from ocmt_management.integrations.oauth_http import NoAnswer, OAuthHttp
from ocmt_management.integrations.oauth_protocol import (
    Client,
    Headers,
    HttpRequest,
    json_object,
)
from ocmt_management.integrations.provider_schema import Provider
from ocmt_management.integrations.resource_metadata import (
    AuthorizationServer,
    Challenge,
    MetadataWrong,
    Resource,
    auth_method_of,
    client_metadata,
    issuer_tag,
    provider_of_resource,
    read_challenge,
    read_resource,
    read_server,
    resource_metadata_urls,
    scopes_to_ask,
    server_metadata_urls,
)
from ocmt_management.vault.service import SecretValue

_JSON = [("Accept", "application/json")]
_CLIENT = {"name": "ocmt", "version": "1"}
_META = "io.modelcontextprotocol/"
# A server may answer the first to anyone, and ask for a sign-in only then. Both revisions' servers
# understand the second.
_PROBES = (
    (
        "initialize",
        {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": _CLIENT},
    ),
    (
        "tools/list",
        {
            "_meta": {
                f"{_META}protocolVersion": "2026-07-28",
                f"{_META}clientInfo": _CLIENT,
                f"{_META}clientCapabilities": {},
            }
        },
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SignInTo:
    provider: Provider
    client: Client
    scopes: tuple[str, ...]


class ResourceDiscovery:
    """`document_url` is where this installation publishes itself as a client; `None`: nowhere.

    Both addresses are followed by the tag of the authorization server, so each has its own.
    """

    def __init__(self, http: OAuthHttp, *, redirect_uri: str, document_url: str | None) -> None:
        self._http = http
        self._redirect_uri = redirect_uri
        self._document_url = document_url

    async def sign_in_to(self, name: str, server_url: str) -> SignInTo:
        """How to sign in to this server; may register a client there.

        Raises `Problem`, which says what the server lacks.
        """
        try:
            challenge = await self._challenge(server_url)
            resource = await self._resource(server_url, challenge)
            server = await self._server(resource.issuer)
            client, method = await self._client(server)
            provider = provider_of_resource(name, resource, server, auth_method=method)
        except (MetadataWrong, NoAnswer) as error:
            raise Problem(
                422,
                "sign-in-unsupported",
                f"You cannot sign in to {name}: {error}. If it takes a key, enter that.",
            ) from error
        except ValueError as error:
            raise Problem(
                422,
                "sign-in-unsupported",
                f"You cannot sign in to {name}: its endpoints are wrong.",
            ) from error
        return SignInTo(
            provider=provider, client=client, scopes=scopes_to_ask(challenge, resource, server)
        )

    async def _challenge(self, server_url: str) -> Challenge:
        session: Headers = [("MCP-Protocol-Version", "2026-07-28")]
        for method, params in _PROBES:
            headers = [
                ("Accept", "application/json, text/event-stream"),
                ("Content-Type", "application/json"),
                ("Mcp-Method", method),
            ]
            if method != "initialize":
                headers += session
            body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
            answer = await self._http.send(
                HttpRequest(
                    method="POST", url=server_url, headers=headers, body=json.dumps(body).encode()
                ),
                cut=True,
            )
            if answer.status == 401:
                return read_challenge(answer.headers.get("www-authenticate", ""))
            if answer.status < 300:
                session = [("MCP-Protocol-Version", "2025-11-25")]
                session_id = answer.headers.get("mcp-session-id")
                if session_id is not None:
                    session.append(("Mcp-Session-Id", session_id))
        raise MetadataWrong("it does not ask for a sign-in")

    async def _resource(self, server_url: str, challenge: Challenge) -> Resource:
        urls = [challenge.metadata_url] if challenge.metadata_url else []
        for url in urls or resource_metadata_urls(server_url):
            document = await self._document(url)
            if document is not None:
                return read_resource(document, server_url)
        raise MetadataWrong("it publishes no metadata about its authorization server")

    async def _server(self, issuer: str) -> AuthorizationServer:
        for url in server_metadata_urls(issuer):
            document = await self._document(url)
            if document is not None:
                return read_server(document, issuer)
        raise MetadataWrong("its authorization server publishes no metadata")

    async def _client(self, server: AuthorizationServer) -> tuple[Client, str]:
        if server.takes_client_documents and self._document_url is not None:
            document = f"{self._document_url}/{issuer_tag(server.issuer)}"
            return Client(id=document), auth_method_of(server, document=True)
        if server.registration_url is None:
            raise MetadataWrong("its authorization server lets no new clients register")
        method = auth_method_of(server, document=False)
        redirect_uri = f"{self._redirect_uri}/{issuer_tag(server.issuer)}"
        body = json.dumps(client_metadata(redirect_uri, auth_method=method)).encode()
        headers = [*_JSON, ("Content-Type", "application/json")]
        answer = await self._http.send(
            HttpRequest(method="POST", url=server.registration_url, headers=headers, body=body)
        )
        found = json_object(answer.body) if answer.status < 300 else None
        client_id = None if found is None else found.get("client_id")
        if found is None or not isinstance(client_id, str) or not 0 < len(client_id) <= 1000:
            raise MetadataWrong(
                f"its authorization server refused to register OCMT ({answer.status})"
            )
        secret, chosen = found.get("client_secret"), found.get("token_endpoint_auth_method", method)
        value = SecretValue(secret) if isinstance(secret, str) and secret else None
        return Client(id=client_id, secret=value), chosen if isinstance(chosen, str) else method

    async def _document(self, url: str) -> dict[str, Any] | None:
        answer = await self._http.send(HttpRequest(method="GET", url=url, headers=[*_JSON]))
        return json_object(answer.body) if answer.status == 200 else None
