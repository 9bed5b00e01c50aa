"""FastAPI dependencies: the agents and their reconciler."""

from typing import Annotated

from fastapi import Depends
from starlette.requests import HTTPConnection

from ocmt_management.agents import reconciler, service


async def _agents(connection: HTTPConnection) -> service.Agents:
    agents: service.Agents = connection.app.state.agents
    return agents


async def _reconciler(connection: HTTPConnection) -> reconciler.Reconciler:
    running: reconciler.Reconciler = connection.app.state.reconciler
    return running


Agents = Annotated[service.Agents, Depends(_agents)]
Reconciler = Annotated[reconciler.Reconciler, Depends(_reconciler)]
