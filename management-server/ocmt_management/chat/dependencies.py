"""FastAPI dependencies: the counter of open chats, and the memory for uploads."""

from typing import Annotated

from fastapi import Depends
from starlette.requests import HTTPConnection

from ocmt_management.chat import answer_follower, open_chats, uploads


async def _open_chats(connection: HTTPConnection) -> open_chats.OpenChats:
    chats: open_chats.OpenChats = connection.app.state.open_chats
    return chats


async def _upload_space(connection: HTTPConnection) -> uploads.UploadSpace:
    space: uploads.UploadSpace = connection.app.state.upload_space
    return space


UploadSpace = Annotated[uploads.UploadSpace, Depends(_upload_space)]
OpenChats = Annotated[open_chats.OpenChats, Depends(_open_chats)]


async def _answer_follower(connection: HTTPConnection) -> answer_follower.AnswerFollower:
    found: answer_follower.AnswerFollower = connection.app.state.answer_follower
    return found


AnswerFollower = Annotated[answer_follower.AnswerFollower, Depends(_answer_follower)]
