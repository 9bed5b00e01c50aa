"""`/api/chat`: the page's WebSocket, and the files in the chat, in both directions."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Annotated

from fastapi import APIRouter, Path, Query, WebSocket
from starlette.responses import StreamingResponse

from ocmt_management.agents.dependencies import Agents
from ocmt_management.auth.dependencies import PresentUser, SocketSession
from ocmt_management.chat.connection import ChatConnection
from ocmt_management.chat.dependencies import AnswerFollower, OpenChats, UploadSpace
from ocmt_management.chat.rows import CONVERSATION, FILE_ID
from ocmt_management.llm.dependencies import Llm
from ocmt_management.picture_types import PICTURES, picture_type
from ocmt_management.tools.dependencies import Approvals

router = APIRouter()


@router.websocket("/api/chat")
async def chat(
    *,
    socket: WebSocket,
    session: SocketSession,
    agents: Agents,
    llm: Llm,
    approvals: Approvals,
    open_chats: OpenChats,
    follower: AnswerFollower,
    upload_space: UploadSpace,
) -> None:
    chat = ChatConnection(
        socket,
        session,
        agents=agents,
        llm=llm,
        approvals=approvals,
        open_chats=open_chats,
        follower=follower,
        upload_space=upload_space,
    )
    await chat.run()


@router.get("/api/chat/files/{conversation}/{file_id}")
async def file(
    conversation: Annotated[str, Path(pattern=f"^{CONVERSATION}$")],
    file_id: Annotated[str, Path(pattern=f"^{FILE_ID}$")],
    user: PresentUser,
    agents: Agents,
) -> StreamingResponse:
    """Stream a file that the user's agent sent. Browsers never render it as a page of ours."""
    async with AsyncExitStack() as stack:
        answer = await stack.enter_async_context(
            agents.server.file(user.user_id, conversation, file_id)
        )
        kept = stack.pop_all()
    kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    return _served(answer.aiter_bytes(), kept, kind)


@router.get("/api/chat/attachments")
async def attachment(
    name: Annotated[str, Query(min_length=1, max_length=1000)], user: PresentUser, agents: Agents
) -> StreamingResponse:
    """Stream a file that the user attached to a message. Its type is read from its bytes."""
    async with AsyncExitStack() as stack:
        answer = await stack.enter_async_context(agents.server.attachment(user.user_id, name))
        pieces = answer.aiter_bytes()
        first = await anext(pieces, b"")
        kept = stack.pop_all()

    async def whole() -> AsyncIterator[bytes]:
        yield first
        async for piece in pieces:
            yield piece

    return _served(whole(), kept, picture_type(first))


def _served(pieces: AsyncIterator[bytes], kept: AsyncExitStack, kind: str) -> StreamingResponse:
    """Serve a file as a picture or to be saved. `kept` is closed at the end."""
    picture = kind in PICTURES

    async def body() -> AsyncIterator[bytes]:
        async with kept:
            async for piece in pieces:
                yield piece

    return StreamingResponse(
        body(),
        media_type=kind if picture else "application/octet-stream",
        headers={
            "Content-Disposition": "inline" if picture else "attachment",
            # The gateway never changes a file that it has delivered or received.
            "Cache-Control": "private, max-age=86400, immutable",
        },
    )
