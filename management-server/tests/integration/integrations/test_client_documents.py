"""OCMT's client metadata documents, which anyone may read."""

from collections.abc import Callable

import httpx2
import pytest
from ocmt_management.integrations.resource_metadata import issuer_tag
from ocmt_management.settings import ManagementSettings

BASE = "https://ocmt.example"
ONE, OTHER = issuer_tag("https://as.example"), issuer_tag("https://other.example")
PATH = "/api/connections/client-metadata"


@pytest.fixture
def settings(
    make_settings: Callable[..., ManagementSettings],
    database_url: str,
    its_settings: dict[str, str],
    request: pytest.FixtureRequest,
) -> ManagementSettings:
    base: str = getattr(request, "param", BASE)
    return make_settings(database_url=database_url, base_url=base, **its_settings)


async def test_each_authorization_server_reads_a_document_of_its_own(
    new_browser: Callable[[], httpx2.AsyncClient],
) -> None:
    stranger = new_browser()
    for tag in (ONE, OTHER):
        answer = await stranger.get(f"{PATH}/{tag}")
        assert answer.headers["content-type"] == "application/json"
        assert answer.json() == {
            "client_id": f"{BASE}{PATH}/{tag}",
            "client_name": "OCMT",
            "redirect_uris": [f"{BASE}/api/connections/callback/{tag}"],
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
            "token_endpoint_auth_method": "none",
            "application_type": "web",
        }


@pytest.mark.parametrize("tag", ["x", ONE.upper(), ONE + "0", ONE[:31], f"{ONE}%0a", "..%2fx"])
async def test_another_tag_has_no_document(
    new_browser: Callable[[], httpx2.AsyncClient], tag: str
) -> None:
    answer = await new_browser().get(f"{PATH}/{tag}")
    assert answer.status_code in (404, 422)
    assert "redirect_uris" not in answer.text


@pytest.mark.parametrize("settings", ["http://127.0.0.1:3000"], indirect=True)
async def test_an_installation_without_https_has_none(
    new_browser: Callable[[], httpx2.AsyncClient],
) -> None:
    answer = await new_browser().get(f"{PATH}/{ONE}")
    assert (answer.status_code, answer.json()["code"]) == (404, "no-client-document")
