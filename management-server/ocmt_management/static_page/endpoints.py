"""Serves the built page, in installations without Caddy or nginx for it.

`index.html` answers all routes of the page and is always revalidated; files in `assets/` have a
hash in their name and are immutable. The build puts a compressed copy beside each script, style
sheet and page, so nothing is compressed while it is served.
"""

import re
from contextlib import suppress
from pathlib import Path

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.staticfiles import StaticFiles

from ocmt_management.dependencies import Settings

PAGE_ROUTES = ("/", "/sign-in", "/settings", "/tools", "/connections", "/agent", "/admin")
_FILE_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*\.[a-z0-9]{1,12}")
_COPIES = (("br", ".br"), ("gzip", ".gz"))
_NOT_AT_ALL = frozenset({"q=0", "q=0.0", "q=0.00", "q=0.000"})

router = APIRouter()


async def _index(request: Request, settings: Settings) -> Response:
    if settings.ui_dir is None:
        return PlainTextResponse(
            "OCMT's management server is running but serves no page.\n"
            "Operator: set UI_DIR to the folder of the built page, or open the address of the web "
            "server that serves it.\n",
            status_code=404,
        )
    try:
        return await _file(settings.ui_dir, "index.html", request, "no-cache")
    except HTTPException:
        return PlainTextResponse(
            "OCMT's page is missing: UI_DIR has no index.html.\n"
            "Operator: build the page (npm run build in user-ui), or correct UI_DIR.\n",
            status_code=503,
        )


for path in PAGE_ROUTES:
    router.add_api_route(path, _index, methods=["GET", "HEAD"], include_in_schema=False)


@router.get("/assets/{name:path}", include_in_schema=False)
async def asset(name: str, request: Request, settings: Settings) -> Response:
    ui_dir = _served(settings.ui_dir)
    return await _file(ui_dir / "assets", name, request, "public, max-age=31536000, immutable")


@router.get("/{name}", include_in_schema=False)
async def top_file(name: str, request: Request, settings: Settings) -> Response:
    """Serve a file beside `index.html`, such as `favicon.svg`."""
    if not _FILE_NAME.fullmatch(name):
        raise HTTPException(404, "There is nothing at this address.")
    return await _file(_served(settings.ui_dir), name, request, "no-cache")


def _served(ui_dir: Path | None) -> Path:
    if ui_dir is None:
        raise HTTPException(404, "There is nothing at this address.")
    return ui_dir


async def _file(folder: Path, name: str, request: Request, cache: str) -> Response:
    """Serve a file below `folder`, with `ETag` and 304. `StaticFiles` rejects paths outside."""
    files = StaticFiles(directory=folder, check_dir=False)
    response = None
    for encoding, suffix in _accepted(request):
        with suppress(HTTPException):
            response = await files.get_response(name + suffix, request.scope)
            response.headers["Content-Encoding"] = encoding
            break
    if response is None:
        response = await files.get_response(name, request.scope)
    response.headers["Cache-Control"] = cache
    response.headers["Vary"] = "Accept-Encoding"
    return response


def _accepted(request: Request) -> list[tuple[str, str]]:
    """`(encoding, file suffix)` of each compressed copy that the client accepts."""
    accepted = {
        name.strip().lower()
        for name, _, weight in (
            part.partition(";") for part in request.headers.get("accept-encoding", "").split(",")
        )
        if weight.replace(" ", "") not in _NOT_AT_ALL
    }
    return [(name, suffix) for name, suffix in _COPIES if name in accepted]
