"""FastAPI dependencies: the mail queue."""

from typing import Annotated

from fastapi import Depends
from starlette.requests import HTTPConnection

from ocmt_management.mail import service


async def _mail_queue(connection: HTTPConnection) -> service.MailQueue:
    queue: service.MailQueue = connection.app.state.mail_queue
    return queue


MailQueue = Annotated[service.MailQueue, Depends(_mail_queue)]
