"""`/health` and the built page."""

import asyncio
import gzip
import os
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest
from fastapi import FastAPI
from ocmt_common.problems import Problem
from ocmt_management.settings import ManagementSettings

NewBrowser = Callable[[], httpx2.AsyncClient]


@pytest.fixture
def ui_dir(tmp_path: Path) -> Path:
    """A built page, beside a file that must not be served."""
    page = tmp_path / "page"
    (page / "assets").mkdir(parents=True)
    (page / "index.html").write_text("<!doctype html><title>OCMT</title>")
    (page / "favicon.svg").write_text("<svg/>")
    (page / "assets" / "index-4f3a.js").write_text("export {}")
    (tmp_path / "private.txt").write_text("private")
    (page / "assets" / "way-out.txt").symlink_to(tmp_path / "private.txt")
    return page


@pytest.fixture
def settings(make_settings: Callable[..., ManagementSettings], ui_dir: Path) -> ManagementSettings:
    return make_settings(ui_dir=str(ui_dir))


def agent_server(app: FastAPI, check: Callable[[], object]) -> None:
    app.state.agents.check_server = check


async def test_health_is_ok_when_everything_answers(app: FastAPI, new_browser: NewBrowser) -> None:
    async def fine() -> None:
        return None

    agent_server(app, fine)
    answer = await new_browser().get("/health")

    assert answer.status_code == 200
    assert answer.json()["status"] == "ok"
    assert answer.json()["checks"] == {
        "database": {"ok": True, "detail": None},
        "agentServer": {"ok": True, "detail": None},
        "mail": {"ok": True, "detail": None},
    }
    assert answer.json()["version"]


async def test_health_passes_on_what_is_wrong_with_the_agent_server(
    app: FastAPI, new_browser: NewBrowser
) -> None:
    async def refused() -> None:
        raise Problem(503, "agent-server-unavailable", "It refuses our token. Check AUTH_TOKEN.")

    agent_server(app, refused)
    answer = await new_browser().get("/health")

    assert answer.status_code == 200
    assert answer.json()["status"] == "degraded"
    assert answer.json()["checks"]["agentServer"] == {
        "ok": False,
        "detail": "It refuses our token. Check AUTH_TOKEN.",
    }


async def test_health_answers_in_time_when_the_agent_server_does_not(
    app: FastAPI, new_browser: NewBrowser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ocmt_management.health.endpoints._CHECK_TIMEOUT_S", 0.1)
    agent_server(app, asyncio.Event().wait)

    async with asyncio.timeout(20):
        answer = await new_browser().get("/health")

    assert "did not answer within" in answer.json()["checks"]["agentServer"]["detail"]


@pytest.mark.parametrize("path", ["/", "/sign-in", "/settings", "/tools", "/agent", "/admin"])
async def test_the_pages_own_routes_give_the_page_revalidated(
    new_browser: NewBrowser, path: str
) -> None:
    browser = new_browser()
    answer = await browser.get(path)

    assert answer.text == "<!doctype html><title>OCMT</title>"
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["cache-control"] == "no-cache"
    again = await browser.get(path, headers={"if-none-match": answer.headers["etag"]})
    assert again.status_code == 304
    assert (await browser.head(path)).status_code == 200


async def test_assets_are_cached_for_ever_and_other_files_are_not(new_browser: NewBrowser) -> None:
    browser = new_browser()
    asset = await browser.get("/assets/index-4f3a.js")
    icon = await browser.get("/favicon.svg")

    assert asset.status_code == icon.status_code == 200
    assert asset.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert "javascript" in asset.headers["content-type"]
    assert icon.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize(
    ("accepts", "encoding"),
    [
        ("gzip, deflate, br, zstd", "br"),
        ("gzip", "gzip"),
        ("br;q=0, gzip;q=0.5", "gzip"),
        ("identity", None),
        ("", None),
    ],
)
async def test_scripts_are_sent_in_the_copy_that_the_browser_takes(
    new_browser: NewBrowser, ui_dir: Path, accepts: str, encoding: str | None
) -> None:
    script = ui_dir / "assets" / "index-4f3a.js"
    written = script.read_bytes()
    script.with_name(f"{script.name}.br").write_bytes(b"as brotli")
    script.with_name(f"{script.name}.gz").write_bytes(gzip.compress(written))
    sent = {"br": b"as brotli", "gzip": gzip.compress(written), None: written}[encoding]
    request = new_browser().stream(
        "GET", "/assets/index-4f3a.js", headers={"accept-encoding": accepts}
    )
    async with request as answer:
        assert answer.headers.get("content-encoding") == encoding
        assert answer.headers["vary"] == "Accept-Encoding"
        assert "javascript" in answer.headers["content-type"]
        assert answer.headers["content-length"] == str(len(sent))


@pytest.mark.parametrize(
    "path",
    [
        "/assets/../../private.txt",
        "/assets/%2e%2e/%2e%2e/private.txt",
        "/assets/..%2f..%2fprivate.txt",
        "/..%2fprivate.txt",
        "/assets/way-out.txt",
        "/assets//etc/passwd",
        "/assets/%2fetc%2fpasswd",
        "/assets/",
        "/assets",
        "/assets/%00",
        "/assets/" + "x" * 300,
        "/missing.js",
        "/.env",
    ],
)
async def test_no_path_leads_out_of_the_page(new_browser: NewBrowser, path: str) -> None:
    answer = await new_browser().get(httpx2.URL("http://127.0.0.1:3000" + path))

    assert answer.status_code == 404
    assert "private" not in answer.text


@pytest.mark.parametrize(
    "path", ["/nowhere", "/settings/more", "/c", "/c/one/two", "/apis", "/a/b/c?d=e", "/%C3%BC"]
)
async def test_a_browser_at_an_unknown_address_gets_the_page_which_says_so(
    new_browser: NewBrowser, path: str
) -> None:
    browser = new_browser()
    answer = await browser.get(path, headers={"accept": "text/html,*/*;q=0.8"})
    assert answer.status_code == 404
    assert answer.text == "<!doctype html><title>OCMT</title>"
    assert answer.headers["cache-control"] == "no-cache"

    for accepts in ("*/*", "application/json"):
        answer = await browser.get(path, headers={"accept": accepts})
        assert answer.status_code == 404
        assert answer.json()["detail"] == "There is nothing at this address."


@pytest.mark.parametrize("path", ["/api/nowhere", "/assets/nowhere.js", "/health/x", "/metrics/x"])
async def test_the_servers_own_addresses_never_give_the_page(
    new_browser: NewBrowser, path: str
) -> None:
    answer = await new_browser().get(path, headers={"accept": "text/html"})
    assert answer.status_code == 404
    assert "<!doctype" not in answer.text


async def test_a_page_that_is_gone_is_explained_and_back_when_it_is_built(
    new_browser: NewBrowser, ui_dir: Path
) -> None:
    browser = new_browser()
    os.rename(ui_dir, ui_dir.with_name("moved"))  # noqa: PTH104 (no event loop is kept waiting)

    answer = await browser.get("/")
    assert answer.status_code == 503
    assert "npm run build" in answer.text

    os.rename(ui_dir.with_name("moved"), ui_dir)  # noqa: PTH104
    assert (await browser.get("/")).status_code == 200


class TestWithoutPage:
    @pytest.fixture
    def settings(self, make_settings: Callable[..., ManagementSettings]) -> ManagementSettings:
        return make_settings()

    async def test_the_root_says_how_to_get_one(self, new_browser: NewBrowser) -> None:
        answer = await new_browser().get("/")

        assert answer.status_code == 404
        assert "UI_DIR" in answer.text
        assert (await new_browser().get("/assets/x.js")).status_code == 404
