"""Cross-site requests, rate limits, oversized bodies, headers: what is refused before a route."""

from collections.abc import AsyncIterator, Awaitable, Callable
from email.message import EmailMessage
from http.cookies import SimpleCookie

import httpx2
import pytest
from fastapi import FastAPI, WebSocket
from ocmt_management.app import create_app
from ocmt_management.auth.dependencies import SocketSession
from ocmt_management.migrations import migrate
from ocmt_management.settings import ManagementSettings
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

ADA = "ada@example.com"

NewBrowser = Callable[[], httpx2.AsyncClient]
SignIn = Callable[[str], Awaitable[httpx2.AsyncClient]]
MakeSettings = Callable[..., ManagementSettings]


@pytest.fixture
def database_url() -> str:
    """Nothing here depends on the database: the embedded one is enough."""
    return ""


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "cross-site", "origin": "https://evil.example"},
        {"sec-fetch-site": "", "origin": "https://evil.example"},
        {"sec-fetch-site": "", "origin": "null"},
        {"origin": "http://127.0.0.1:3000.evil.example", "sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "", "origin": "http://["},
        {"sec-fetch-site": "", "origin": "127.0.0.1:3000"},
    ],
)
async def test_another_sites_page_cannot_act_with_the_session(
    sign_in: SignIn, headers: dict[str, str]
) -> None:
    browser = await sign_in(ADA)
    secret = await browser.put("/api/secrets/FOO", json={"value": "kept"})
    assert secret.status_code == 200
    if headers.get("sec-fetch-site") == "":
        del browser.headers["sec-fetch-site"]
    sent = {name: value for name, value in headers.items() if value}

    refused = await browser.delete("/api/secrets/FOO", headers=sent)

    assert refused.status_code == 403
    assert refused.json()["code"] == "cross-site"
    assert len((await browser.get("/api/secrets")).json()["secrets"]) == 1


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "same-origin"},
        {"sec-fetch-site": "none"},
        {"origin": "http://127.0.0.1:3000"},
        {"origin": "http://127.0.0.1:3000", "sec-fetch-site": "cross-site"},
        {},
    ],
)
async def test_our_own_page_and_programs_may_send_requests(
    sign_in: SignIn, headers: dict[str, str]
) -> None:
    browser = await sign_in(ADA)
    del browser.headers["sec-fetch-site"]

    answer = await browser.put("/api/secrets/FOO", json={"value": "x"}, headers=headers)

    assert answer.status_code == 200


async def test_one_client_gets_a_few_links_an_hour_to_one_address(
    new_browser: NewBrowser,
) -> None:
    browser = new_browser()
    answers = [await browser.post("/api/auth/link", json={"email": ADA}) for _ in range(6)]

    assert [answer.status_code for answer in answers] == [202] * 5 + [429]
    assert answers[-1].json()["code"] == "too-many-attempts"
    assert 0 < int(answers[-1].headers["retry-after"]) <= 3600


async def test_one_client_gets_a_few_links_an_hour_whatever_the_address(
    new_browser: NewBrowser,
) -> None:
    browser = new_browser()
    statuses = [
        (await browser.post("/api/auth/link", json={"email": f"u{n}@example.com"})).status_code
        for n in range(21)
    ]

    assert statuses == [202] * 20 + [429]


@pytest.mark.parametrize(
    ("one", "other", "together"),
    [
        ("192.0.2.7", "192.0.2.8", False),
        ("::ffff:192.0.2.7", "::ffff:192.0.2.8", False),
        ("2001:db8:1:2::7", "2001:db8:1:2:ffff::8", True),
        ("2001:db8:1:2::7", "2001:db8:1:3::7", False),
    ],
)
async def test_clients_are_distinguished_by_their_networks(
    app: FastAPI, one: str, other: str, together: bool
) -> None:
    async def asks(address: str) -> int:
        transport = httpx2.ASGITransport(app, client=(address, 50_000))
        async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return (await client.post("/api/auth/session", json={"token": "x" * 43})).status_code

    assert [await asks(one) for _ in range(21)][-1] == 429
    assert (await asks(other) == 429) is together


@pytest.mark.parametrize(
    ("network", "elsewhere"),
    [
        ("198.51.100.{}", "192.0.2.7"),
        ("::ffff:198.51.100.{}", "::ffff:198.51.101.1"),
        ("2001:db8:1:{}::7", "2001:db8:2::7"),
    ],
)
async def test_a_client_with_a_whole_network_is_limited_alone(
    app: FastAPI, network: str, elsewhere: str
) -> None:
    async def asks(host: str, number: int) -> int:
        transport = httpx2.ASGITransport(app, client=(host, 50_000))
        async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            email = f"u{number}@elsewhere.org"
            return (await client.post("/api/auth/link", json={"email": email})).status_code

    statuses = [await asks(network.format(n % 9 + 1), n) for n in range(61)]

    assert statuses == [202] * 60 + [429]
    assert await asks(elsewhere, 0) == 202


async def test_guessing_at_links_is_slowed_down(new_browser: NewBrowser) -> None:
    browser = new_browser()
    answers = [
        await browser.post("/api/auth/session", json={"token": f"{n:043}"}) for n in range(21)
    ]

    assert [answer.status_code for answer in answers] == [403] * 20 + [429]


async def test_an_oversized_body_is_a_413_declared_or_streamed(sign_in: SignIn) -> None:
    browser = await sign_in(ADA)
    body = b'{"value": "' + b"x" * 200_000 + b'"}'

    async def streamed() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 10_000):
            yield body[start : start + 10_000]

    for content in (body, streamed()):
        answer = await browser.put(
            "/api/secrets/FOO", content=content, headers={"content-type": "application/json"}
        )
        assert answer.status_code == 413
        assert answer.json()["code"] == "body-too-large"


@pytest.mark.parametrize(
    "path", ["//", "/..", "/%2e%2e/", "/%00", "/api//secrets", "/api/secrets/..%2f", "/\\", "/%ff"]
)
async def test_odd_paths_are_refused_and_crash_nothing(sign_in: SignIn, path: str) -> None:
    browser = await sign_in(ADA)

    for method in ("GET", "DELETE"):
        answer = await browser.request(method, httpx2.URL("http://127.0.0.1:3000" + path))
        assert answer.status_code in (404, 405, 422)


async def test_every_answer_has_the_security_headers(new_browser: NewBrowser) -> None:
    for path in ("/", "/health", "/api/secrets", "/nothing"):
        headers = (await new_browser().get(path)).headers
        policy = headers["content-security-policy"]
        assert "unsafe" not in policy
        assert "default-src 'none'" in policy
        assert "script-src 'self'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "connect-src 'self' ws://127.0.0.1:3000" in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cross-origin-opener-policy"] == "same-origin"
        assert "strict-transport-security" not in headers
    assert headers["cache-control"] == "no-store"


@pytest.mark.parametrize("path", ["/", "/health", "/api/me", "/api/auth/session", "/llm/v1/models"])
async def test_trace_is_answered_nowhere(new_browser: NewBrowser, path: str) -> None:
    answer = await new_browser().request("TRACE", path, headers={"x-secret": "mirrored"})
    assert answer.status_code in (401, 404, 405)
    assert "mirrored" not in answer.text


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/openapi.json", "/metrics", "/.git/HEAD"])
async def test_nothing_for_developers_is_served(new_browser: NewBrowser, path: str) -> None:
    assert (await new_browser().get(path)).status_code == 404


class TestOverHttps:
    """The same server behind a proxy with https, its page at another origin of the same site."""

    @pytest.fixture
    def settings(
        self, make_settings: MakeSettings, mailbox: tuple[int, list[EmailMessage]]
    ) -> ManagementSettings:
        return make_settings(
            base_url="https://api.acme.io",
            ui_origin="https://app.acme.io",
            smtp_host="127.0.0.1",
            smtp_port=str(mailbox[0]),
            smtp_from="ocmt@acme.io",
            smtp_tls="none",
            allowed_domains="example.com",
        )

    async def test_cookies_are_secure_and_bound_to_the_host(
        self, sign_in: SignIn, ask_for_link: Callable[..., Awaitable[str]], new_browser: NewBrowser
    ) -> None:
        browser = new_browser()
        token = await ask_for_link(browser, ADA)
        assert "__Host-ocmt_verifier" in browser.cookies
        answer = await browser.post("/api/auth/session", json={"token": token})

        cookie = SimpleCookie(answer.headers.get_list("set-cookie")[0])["__Host-ocmt_session"]
        assert cookie["secure"] is True
        assert cookie["httponly"] is True
        assert cookie["samesite"] == "lax"
        assert cookie["path"] == "/"
        assert cookie["domain"] == ""

    async def test_strict_transport_security_is_sent(self, new_browser: NewBrowser) -> None:
        headers = (await new_browser().get("/health")).headers

        assert headers["strict-transport-security"].startswith("max-age=31536000")
        assert "wss://api.acme.io" in headers["content-security-policy"]

    async def test_only_the_pages_origin_may_call_across_with_credentials(
        self, sign_in: SignIn
    ) -> None:
        browser = await sign_in(ADA)
        page = {"origin": "https://app.acme.io", "sec-fetch-site": "same-site"}
        other = {"origin": "https://evil.io", "sec-fetch-site": "cross-site"}

        answer = await browser.get("/api/secrets", headers=page)
        assert answer.headers["access-control-allow-origin"] == "https://app.acme.io"
        assert answer.headers["access-control-allow-credentials"] == "true"
        put = await browser.put("/api/secrets/FOO", json={"value": "x"}, headers=page)
        assert put.status_code == 200
        foreign = await browser.get("/api/secrets", headers=other)
        assert "access-control-allow-origin" not in foreign.headers

    async def test_links_lead_to_the_page(
        self,
        ask_for_link: Callable[..., Awaitable[str]],
        new_browser: NewBrowser,
        mails: list[EmailMessage],
    ) -> None:
        await ask_for_link(new_browser(), ADA)

        assert "https://app.acme.io/sign-in#" in mails[-1].as_string()


class TestSockets:
    """The check that every WebSocket makes, on a socket that answers with its user."""

    @pytest.fixture
    async def settings(self, make_settings: MakeSettings) -> ManagementSettings:
        settings = make_settings()
        await migrate(settings.database)
        return settings

    @pytest.fixture
    def with_socket(self, settings: ManagementSettings) -> FastAPI:
        app = create_app(settings)

        @app.websocket("/who")
        async def who(socket: WebSocket, session: SocketSession) -> None:
            await socket.accept()
            await socket.send_text(session.user.email)
            await socket.close()

        return app

    @pytest.fixture
    def signed_in(self, with_socket: FastAPI, settings: ManagementSettings) -> TestClient:
        return TestClient(with_socket, base_url="http://127.0.0.1:3000")

    def test_a_socket_needs_our_origin_and_a_session(
        self, signed_in: TestClient, seen_secrets: set[str]
    ) -> None:
        from ocmt_management.auth.sign_in import operator_link

        ours = {"origin": "http://127.0.0.1:3000"}
        with signed_in as browser:
            assert isinstance(browser.app, FastAPI)
            state = browser.app.state

            async def make_link() -> str:
                async with state.database.write() as session:
                    made = await operator_link(
                        session, settings=state.settings, clock=state.clock, email=None
                    )
                return made[1].partition("#")[2]

            assert browser.portal is not None
            token = browser.portal.call(make_link)
            seen_secrets.add(token)
            self._refused(browser, ours)
            assert browser.post("/api/auth/session", json={"token": token}).status_code == 200
            with browser.websocket_connect("ws://127.0.0.1:3000/who", headers=ours) as socket:
                assert socket.receive_text() == "admin@localhost"
            self._refused(browser, {"origin": "https://evil.example"})
            self._refused(browser, {"origin": "null"})
            self._refused(browser, {"origin": "http://["})
            self._refused(browser, {})

    def _refused(self, browser: TestClient, headers: dict[str, str]) -> None:
        with (
            pytest.raises(WebSocketDisconnect),
            browser.websocket_connect("ws://127.0.0.1:3000/who", headers=headers),
        ):
            raise AssertionError("the socket was accepted")
