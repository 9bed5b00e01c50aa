"""FastAPI dependencies: the audit trail."""

from typing import Annotated

from fastapi import Depends
from starlette.requests import HTTPConnection

from ocmt_management.audit import service
from ocmt_management.dependencies import Clock, Transaction


async def _audit(db: Transaction, clock: Clock) -> service.Audit:
    return service.Audit(db, clock)


async def _throttle(connection: HTTPConnection) -> service.AuditThrottle:
    throttle: service.AuditThrottle = connection.app.state.audit_throttle
    return throttle


Audit = Annotated[service.Audit, Depends(_audit)]
"""The trail within the request's transaction."""
AuditThrottle = Annotated[service.AuditThrottle, Depends(_throttle)]
