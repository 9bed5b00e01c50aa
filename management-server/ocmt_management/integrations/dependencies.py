"""Integrations, for endpoints."""

from typing import Annotated

from fastapi import Depends
from starlette.requests import HTTPConnection

from ocmt_management.integrations import service


async def _integrations(connection: HTTPConnection) -> service.Integrations:
    found: service.Integrations = connection.app.state.integrations
    return found


Integrations = Annotated[service.Integrations, Depends(_integrations)]
