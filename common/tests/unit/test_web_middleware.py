import pytest
import structlog
from ocmt_common.problems import Problem, install_problem_handlers
from ocmt_common.web import BodyLimitMiddleware, RequestIdMiddleware
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient


async def size(request: Request) -> Response:
    return JSONResponse({"size": len(await request.body())})


async def refuse(_: Request) -> Response:
    raise Problem(503, "busy", "Try again in a moment.", retry_after_s=7)


async def crash(_: Request) -> Response:
    raise RuntimeError("the password is hunter2")


@pytest.fixture
def client() -> TestClient:
    app = Starlette(
        routes=[
            Route("/size", size, methods=["POST"]),
            Route("/refuse", refuse),
            Route("/crash", crash),
        ],
        middleware=[Middleware(RequestIdMiddleware), Middleware(BodyLimitMiddleware, max_bytes=10)],
    )
    install_problem_handlers(app)
    return TestClient(app, raise_server_exceptions=False)


def test_a_body_within_the_limit_passes(client: TestClient) -> None:
    assert client.post("/size", content=b"x" * 10).json() == {"size": 10}


def test_a_declared_body_above_the_limit_is_refused_unread(client: TestClient) -> None:
    response = client.post("/size", content=b"x" * 11)

    assert response.status_code == 413
    assert response.json()["code"] == "body-too-large"


def test_a_streamed_body_above_the_limit_is_refused_while_it_comes(client: TestClient) -> None:
    response = client.post("/size", content=(b"x" * 4 for _ in range(4)))

    assert response.status_code == 413


def test_a_problem_becomes_problem_json_with_retry_after(client: TestClient) -> None:
    response = client.get("/refuse")

    assert response.status_code == 503
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["retry-after"] == "7"
    assert response.json()["detail"] == "Try again in a moment."


def test_a_crash_reveals_nothing_internal_to_the_caller(client: TestClient) -> None:
    response = client.get("/crash")

    assert response.status_code == 500
    assert "hunter2" not in response.text


def test_a_crash_is_answered_and_logged_under_the_requests_id(client: TestClient) -> None:
    with structlog.testing.capture_logs() as events:
        response = client.get("/crash", headers={"x-request-id": "abc-1"})

    assert response.headers["x-request-id"] == "abc-1"
    (crash,) = [event for event in events if event["event"] == "request crashed"]
    assert crash["request_id"] == "abc-1"


def test_an_unknown_path_is_a_problem_too(client: TestClient) -> None:
    assert client.get("/nowhere").json()["code"] == "http-404"


def test_a_well_formed_request_id_is_kept_and_any_other_replaced(client: TestClient) -> None:
    kept = client.get("/nowhere", headers={"x-request-id": "abc-1"})
    replaced = client.get("/nowhere", headers={"x-request-id": "evil id"})

    assert kept.headers["x-request-id"] == "abc-1"
    assert replaced.headers["x-request-id"] != "evil id"
    assert len(replaced.headers["x-request-id"]) == 32
