"""`/api/chat`: the page's WebSocket."""

from fastapi import APIRouter, WebSocket

from ocmt_management.agents.dependencies import Agents
from ocmt_management.auth.dependencies import SocketSession
from ocmt_management.chat.connection import ChatConnection
from ocmt_management.chat.dependencies import OpenChats
from ocmt_management.llm.dependencies import Llm
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
) -> None:
    chat = ChatConnection(
        socket, session, agents=agents, llm=llm, approvals=approvals, open_chats=open_chats
    )
    await chat.run()
