"""FastAPI dependencies: the counter of open chats."""

from typing import Annotated

from fastapi import Depends
from starlette.requests import HTTPConnection

from ocmt_management.chat import open_chats


async def _open_chats(connection: HTTPConnection) -> open_chats.OpenChats:
    chats: open_chats.OpenChats = connection.app.state.open_chats
    return chats


OpenChats = Annotated[open_chats.OpenChats, Depends(_open_chats)]
