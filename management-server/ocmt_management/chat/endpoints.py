"""`/api/chat`: the page's WebSocket, and the files that the agent sends in the chat."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Annotated

from fastapi import APIRouter, Path, WebSocket
from starlette.responses import StreamingResponse

from ocmt_management.agents.dependencies import Agents
from ocmt_management.auth.dependencies import PresentUser, SocketSession
from ocmt_management.chat.connection import ChatConnection
from ocmt_management.chat.dependencies import AnswerFollower, OpenChats
from ocmt_management.chat.rows import CONVERSATION, FILE_ID
from ocmt_management.llm.dependencies import Llm
from ocmt_management.tools.dependencies import Approvals

router = APIRouter()

# Types served for display as pictures; everything else is offered as a download.
_PICTURES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})


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
) -> None:
    chat = ChatConnection(
        socket,
        session,
        agents=agents,
        llm=llm,
        approvals=approvals,
        open_chats=open_chats,
        follower=follower,
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
    picture = kind in _PICTURES

    async def body() -> AsyncIterator[bytes]:
        async with kept:
            async for piece in answer.aiter_bytes():
                yield piece

    return StreamingResponse(
        body(),
        media_type=kind if picture else "application/octet-stream",
        headers={
            "Content-Disposition": "inline" if picture else "attachment",
            # The gateway never changes a file that it has delivered.
            "Cache-Control": "private, max-age=86400, immutable",
        },
    )
