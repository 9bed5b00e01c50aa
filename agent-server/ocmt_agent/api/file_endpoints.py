"""The routes of agents' files. A test compares them with `docs/agent-api.md`.

None wakes an agent: its files are on this host's disk.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import closing
from io import FileIO

from fastapi import APIRouter, Request
from ocmt_common.agent_api import FileListing
from ocmt_common.problems import Problem, body_too_large
from starlette.responses import StreamingResponse

from ocmt_agent.api.endpoints import PartsDep
from ocmt_agent.decisions.disk_limit import Fullness
from ocmt_agent.files.paths import names_of
from ocmt_agent.files.workspace import MOST_UPLOAD_BYTES, Workspace
from ocmt_agent.records.agent import Agent

router = APIRouter()

_PATH = "/api/containers/{user_id}/files"
_PIECE_BYTES = 256 * 1024


@router.get(_PATH)
async def list_files(user_id: str, parts: PartsDep, path: str = "") -> FileListing:
    workspace = _workspace(parts, user_id)
    return await asyncio.to_thread(workspace.listing, names_of(path))


@router.get(f"{_PATH}/content")
async def read_file(user_id: str, parts: PartsDep, path: str) -> StreamingResponse:
    workspace = _workspace(parts, user_id)
    file, size = await asyncio.to_thread(workspace.open, _file_names(path))
    return StreamingResponse(_pieces(file, size), media_type="application/octet-stream")


@router.put(f"{_PATH}/content", status_code=204)
async def write_file(user_id: str, parts: PartsDep, path: str, request: Request) -> None:
    workspace = _workspace(parts, user_id)
    _refuse_over_limit(parts.registry.get(user_id))
    names = _file_names(path)
    content = bytearray()
    async for piece in request.stream():
        content += piece
        if len(content) > MOST_UPLOAD_BYTES:
            raise body_too_large(MOST_UPLOAD_BYTES)
    await asyncio.to_thread(workspace.write, names, bytes(content))


def _workspace(parts: PartsDep, user_id: str) -> Workspace:
    return Workspace(parts.runtime.home(parts.registry.get(user_id).user_id))


def _file_names(path: str) -> list[str]:
    names = names_of(path)
    if not names:
        raise Problem(422, "path-invalid", "Name a file.")
    return names


def _refuse_over_limit(agent: Agent) -> None:
    if agent.disk is not None and agent.disk.fullness >= Fullness.OVER:
        raise Problem(507, "agent-disk-full", agent.disk.warning or "")


async def _pieces(file: FileIO, size: int) -> AsyncIterator[bytes]:
    """At most the first `size` bytes, so that a file which grows meanwhile has an end."""
    with closing(file):
        left = size
        while left > 0:
            piece = await asyncio.to_thread(file.read, min(left, _PIECE_BYTES))
            if not piece:
                return
            left -= len(piece)
            yield piece
