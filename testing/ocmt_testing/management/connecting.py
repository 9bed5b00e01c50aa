"""People who connect accounts at a real authorization server."""

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2

from ocmt_testing.oidc_provider import AuthorizationServer


@dataclass
class Person:
    """A signed-in person, and the account that they use at the provider."""

    id: str
    browser: httpx2.AsyncClient
    provider: AuthorizationServer
    secrets: set[str]

    async def start(self, **body: Any) -> str:
        answer = await self.browser.post("/api/connections/start", json={"provider": "own", **body})
        assert answer.status_code == 200, answer.text
        url: str = answer.json()["url"]
        self.secrets.update(parse_qs(urlsplit(url).query)["state"])
        return url

    async def come_back(self, url: str) -> str:
        """Follow the way back from the provider; returns the page's address."""
        parts = urlsplit(url)
        self.secrets.update(parse_qs(parts.query).get("code", []))
        answer = await self.browser.get(f"{parts.path}?{parts.query}")
        assert answer.status_code == 303, answer.text
        found: str = answer.headers["location"].partition("/connections")[2]
        return found

    async def connect(self, login: str = "ada-at-notes", **body: Any) -> str:
        """Connect an account; returns the connection's id."""
        back = await self.come_back(await self.provider.consent(await self.start(**body), login))
        found = re.search(r"result=([\w-]+)&connection=([\w-]+)", back)
        assert found, back
        return found[2]

    async def all(self) -> list[dict[str, Any]]:
        answer = await self.browser.get("/api/connections")
        found: list[dict[str, Any]] = answer.json()["connections"]
        return found

    async def one(self, connection_id: str) -> dict[str, Any]:
        return next(c for c in await self.all() if c["id"] == connection_id)
