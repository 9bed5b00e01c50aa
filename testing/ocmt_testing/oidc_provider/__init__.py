"""A real authorization server for tests: `oidc-provider`, pinned in `package.json` and its lock.

Raise it with `npm install --package-lock-only --omit-lockfile-registry-resolved
oidc-provider@VERSION` in this folder.
"""

import asyncio
import hashlib
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import httpx2
from ocmt_cli.checkout import DEFAULT_DATA
from ocmt_cli.node import node_binary, npm_program, run_node
from ocmt_common.file_lock import lock

CLIENT_ID = "ocmt"
CLIENT_SECRET = "ocmt-client-secret-0123456789"
_FILES = ("package.json", "package-lock.json")
_STAMP = ".ocmt-lock-sha256"


def installed_provider() -> Path:
    """The folder with the server's modules, installed once into the checkout's data folder."""
    pin = Path(str(resources.files(__name__)))
    target = DEFAULT_DATA / "oidc-provider"
    wanted = hashlib.sha256((pin / "package-lock.json").read_bytes()).hexdigest()
    target.mkdir(parents=True, exist_ok=True)
    with lock(target):
        stamp = target / _STAMP
        if not stamp.exists() or stamp.read_text() != wanted:
            for name in _FILES:
                shutil.copyfile(pin / name, target / name)
            run_node(
                [npm_program(), "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
                folder=target,
                doing="Installing the authorization server for tests",
            )
            stamp.write_text(wanted)
    return target


class AuthorizationServer:
    """The running server. People sign in with any name; the name is their account."""

    def __init__(self, url: str) -> None:
        self.url = url

    async def set(self, **changes: Any) -> dict[str, Any]:
        """Change its behaviour: `ttl` of access tokens, `mode`, `refuse`, a `forgotten` token.

        Returns what it saw.
        """
        async with httpx2.AsyncClient(trust_env=False) as client:
            answer = await client.post(f"{self.url}/control", json=changes)
            found: dict[str, Any] = answer.json()
            return found

    async def endpoints(self, **changes: Any) -> dict[str, Any]:
        """It as the operator's own provider."""
        return {
            "name": "Notes",
            "issuer": self.url,
            "authorizeUrl": f"{self.url}/auth",
            "tokenUrl": f"{self.url}/token",
            "revokeUrl": f"{self.url}/token/revocation",
            "userinfoUrl": f"{self.url}/me",
            "apiUrl": f"{self.url}/api",
            "hosts": [self.url.partition("://")[2]],
            "scopes": [
                {"id": "openid", "text": "Know which account it is", "required": True},
                {"id": "notes", "text": "Read notes"},
            ],
            **changes,
        }

    async def consent(self, url: str, login: str, *, refuse: bool = False) -> str:
        """Sign in and consent as a person in a browser of their own; returns the way back."""
        async with httpx2.AsyncClient(trust_env=False) as person:
            answer = await person.get(url)
            for _ in range(12):
                if answer.is_redirect:
                    target = urljoin(str(answer.url), answer.headers["location"])
                    if not target.startswith(self.url):
                        return target
                    answer = await person.get(target)
                    continue
                action = re.search(r'<form[^>]*action="([^"]+)"', answer.text)
                assert action, answer.text[:2000]
                form = urljoin(str(answer.url), action[1])
                prompt = "login" if 'value="login"' in answer.text else "consent"
                if refuse and prompt == "consent":
                    answer = await person.get(f"{form}/abort")
                else:
                    fields = {"prompt": prompt, "login": login, "password": "x"}
                    answer = await person.post(form, data=fields)
        raise AssertionError("no way back from the authorization server")


@asynccontextmanager
async def authorization_server(redirect_uri: str) -> AsyncIterator[AuthorizationServer]:
    folder = await asyncio.to_thread(installed_provider)
    program = Path(str(resources.files(__name__))) / "server.mjs"
    process = await asyncio.create_subprocess_exec(
        node_binary(), program, folder, redirect_uri, "0",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        # oidc-provider prints warnings about its development pages as well.
        while not (line := (await process.stdout.readline()).strip()).isdigit():
            assert line or not process.stdout.at_eof(), "the authorization server did not start"
        yield AuthorizationServer(f"http://127.0.0.1:{int(line)}")
    finally:
        process.kill()
        await process.wait()
