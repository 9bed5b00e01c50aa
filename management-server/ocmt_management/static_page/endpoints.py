"""The built page, for installations where management serves it (others use Caddy or nginx).

`index.html` answers the page's routes and is revalidated each time; files in `assets/` have their
hash in the name and are immutable.
"""

import re
from pathlib import Path

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from ocmt_management.dependencies import Settings

PAGE_ROUTES = ("/", "/sign-in", "/settings")
_FILE_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*\.[a-z0-9]{1,12}")

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
        return await _file(settings.ui_dir, "index.html", request.scope, "no-cache")
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
    return await _file(
        ui_dir / "assets", name, request.scope, "public, max-age=31536000, immutable"
    )


@router.get("/{name}", include_in_schema=False)
async def top_file(name: str, request: Request, settings: Settings) -> Response:
    """Files beside `index.html`, such as `favicon.svg`."""
    if not _FILE_NAME.fullmatch(name):
        raise HTTPException(404, "There is nothing at this address.")
    return await _file(_served(settings.ui_dir), name, request.scope, "no-cache")


def _served(ui_dir: Path | None) -> Path:
    if ui_dir is None:
        raise HTTPException(404, "There is nothing at this address.")
    return ui_dir


async def _file(folder: Path, name: str, scope: Scope, cache: str) -> Response:
    """A file below `folder`, with `ETag` and 304. StaticFiles rejects paths outside `folder`."""
    files = StaticFiles(directory=folder, check_dir=False)
    response = await files.get_response(name, scope)
    response.headers["Cache-Control"] = cache
    return response
