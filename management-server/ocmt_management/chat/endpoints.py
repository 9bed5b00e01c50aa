"""`/api/chat`: the page's socket."""

from fastapi import APIRouter, WebSocket

from ocmt_management.auth.dependencies import SocketUser
from ocmt_management.chat.connection import ChatSession
from ocmt_management.dependencies import parts_of

router = APIRouter()


@router.websocket("/api/chat")
async def chat(socket: WebSocket, user: SocketUser) -> None:
    await ChatSession(socket, user, parts_of(socket)).run()
