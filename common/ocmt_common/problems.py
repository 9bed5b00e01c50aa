"""The errors of both servers' APIs: RFC 9457 problem details.

Raise `Problem` if a request cannot be served. `install_problem_handlers` turns it, framework errors
and validation errors into `application/problem+json`. `detail` always has the cure, and never a
secret or a stack trace.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

log = structlog.get_logger(__name__)

PROBLEM_JSON = "application/problem+json"
REQUEST_ID_HEADER = "x-request-id"
PROBLEM_IN_SCOPE = "ocmt_problem"
"""The key in a request's scope for the code of the problem with which it was answered."""


class Problem(Exception):
    """An error response: a status, a stable machine-readable `code`, and a `detail` with the cure.

    `retry_after_s` becomes the `Retry-After` header. `extra` is merged into the body.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        title: str | None = None,
        retry_after_s: int | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.title = title or HTTPStatus(status).phrase
        self.retry_after_s = retry_after_s
        self.extra = dict(extra or {})

    def body(self) -> dict[str, Any]:
        """The problem document. The API pages list the values of `type`."""
        return {
            "type": f"/problems/{self.code}",
            "title": self.title,
            "status": self.status,
            "code": self.code,
            "detail": self.detail,
            **self.extra,
        }

    def response(self) -> Response:
        headers = {} if self.retry_after_s is None else {"Retry-After": str(self.retry_after_s)}
        return JSONResponse(
            self.body(), status_code=self.status, headers=headers, media_type=PROBLEM_JSON
        )


def body_too_large(max_bytes: int) -> Problem:
    return Problem(413, "body-too-large", f"Send at most {max_bytes} bytes in one request.")


def validation_problem(errors: list[Mapping[str, Any]]) -> Problem:
    """A 422 with the reason for each wrong field, without its value, which may be a secret."""
    fields = [
        {"field": ".".join(str(part) for part in e["loc"]), "reason": str(e["msg"])} for e in errors
    ]
    listed = "; ".join(f"{f['field']}: {f['reason']}" for f in fields)
    return Problem(
        422, "invalid-request", f"Correct the request: {listed}", extra={"errors": fields}
    )


async def _on_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)  # noqa: S101 (Starlette dispatches by type)
    request.scope[PROBLEM_IN_SCOPE] = error.code
    return error.response()


async def _on_http_exception(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101
    problem = Problem(
        error.status_code, f"http-{error.status_code}", str(error.detail or "The request failed.")
    )
    response = problem.response()
    for name, value in (error.headers or {}).items():
        response.headers[name] = value
    return response


async def _on_crash(request: Request, error: Exception) -> Response:
    request_id = request.scope.get(REQUEST_ID_HEADER)
    log.error(
        "request crashed",
        method=request.method,
        path=request.url.path,
        request_id=request_id,
        exc_info=error,
    )
    response = Problem(
        500,
        "internal-error",
        "The server failed on this request; its log has the reason under this request's id.",
    ).response()
    if request_id:
        response.headers[REQUEST_ID_HEADER] = request_id
    return response


def install_problem_handlers(app: Starlette) -> None:
    """Make every error response of `app` a problem document."""
    app.add_exception_handler(Problem, _on_problem)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(Exception, _on_crash)
    try:
        from fastapi.exceptions import RequestValidationError  # noqa: PLC0415
    except ImportError:  # not installed with the command
        return

    async def on_invalid(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)  # noqa: S101
        return validation_problem(list(error.errors())).response()

    app.add_exception_handler(RequestValidationError, on_invalid)
