"""FastAPI dependencies: notifications."""

from typing import Annotated

from fastapi import Depends
from starlette.requests import HTTPConnection

from ocmt_management.notifications import service


async def _notifications(connection: HTTPConnection) -> service.Notifications:
    found: service.Notifications = connection.app.state.notifications
    return found


Notifications = Annotated[service.Notifications, Depends(_notifications)]
