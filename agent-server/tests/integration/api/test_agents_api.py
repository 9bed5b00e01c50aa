import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import httpx2
import pytest
from ocmt_agent.app import create_app
from ocmt_agent.records.events import QUEUE_SIZE, EventHub, Subscription
from ocmt_common.agent_api import AUTH_HEADER, StateEvent
from ocmt_common.agent_api import HibernationState as S
from ocmt_testing.agent_server.host import AGENT_TOKEN, TOKEN, Host, open_host
from ocmt_testing.agent_server.serving import serving

ROUTES = [
    ("GET", "/api/containers"),
    ("POST", "/api/containers"),
    ("GET", "/api/events"),
    ("GET", "/api/containers/ada"),
    ("DELETE", "/api/containers/ada"),
    ("POST", "/api/containers/ada/wake"),
    ("POST", "/api/containers/ada/hibernate"),
    ("POST", "/api/containers/ada/restart"),
    ("POST", "/api/containers/ada/disable"),
    ("POST", "/api/containers/ada/enable"),
    ("GET", "/api/containers/ada/events"),
    ("GET", "/api/containers/ada/policy"),
    ("PUT", "/api/containers/ada/policy"),
    ("PUT", "/api/containers/ada/tools-version"),
    ("GET", "/api/containers/ada/logs"),
    ("GET", "/nothing/here"),
    ("GET", "//health"),
]


@pytest.mark.parametrize(("method", "path"), ROUTES)
@pytest.mark.parametrize("token", [None, "", "wrong", TOKEN + "x", TOKEN[:-1], "é" * 32])
async def test_nothing_answers_without_the_token(
    tmp_path: Path, method: str, path: str, token: str | None
) -> None:
    async with open_host(tmp_path) as host:
        await host.provision()
        del host.client.headers[AUTH_HEADER]
        headers = {} if token is None else {AUTH_HEADER.encode(): token.encode()}
        answer = await host.client.request(method, f"http://agent{path}", headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (401, "wrong-token")
        assert answer.headers["content-type"] == "application/problem+json"
        assert host.runtime.containers["ada"].boot == 1


async def test_health_is_open_and_keeps_the_specifications_fields(tmp_path: Path) -> None:
    async with open_host(tmp_path) as host:
        for user in ("ada", "ben", "eve"):
            await host.provision(user)
        await host.orders.hibernate("ben", "pause")
        await host.orders.hibernate("eve", "stop")
        del host.client.headers[AUTH_HEADER]
        body = (await host.client.get("/health")).json()
        assert body["status"] == "ok"
        assert body["containers"] == 3
        counts = {k: body["hibernation"][k] for k in ("running", "paused", "stopped")}
        assert counts == {"running": 1, "paused": 1, "stopped": 1}


async def test_frequent_health_requests_do_not_query_the_engine_each_time(tmp_path: Path) -> None:
    async with open_host(tmp_path) as host:
        for _ in range(50):
            await host.client.get("/health")
        assert host.runtime.calls["problems"] == 1


async def test_the_list_keeps_the_specifications_fields(tmp_path: Path) -> None:
    async with open_host(tmp_path) as host:
        await host.provision()
        host.clock.advance(minutes=45, seconds=59)
        await host.orders.hibernate("ada", "pause")
        (container,) = (await host.client.get("/api/containers")).json()
        assert container["userId"] == "ada"
        assert container["hibernationState"] == "paused"
        assert container["idleMinutes"] == 45


async def test_wake_and_hibernate_answer_the_container(tmp_path: Path) -> None:
    async with open_host(tmp_path) as host:
        await host.provision()
        for mode, state in (("pause", "paused"), ("stop", "stopped")):
            url = "/api/containers/ada/hibernate"
            for _ in range(2):  # the same again is no error
                answer = await host.client.post(url, json={"mode": mode})
                assert (answer.status_code, answer.json()["hibernationState"]) == (200, state)
            answer = await host.client.post("/api/containers/ada/wake")
            assert answer.json()["hibernationState"] == "running"
            assert answer.json()["lastActivityKind"] == "wake"
            await host.client.post(url, json={"mode": mode})


async def test_a_stopped_agent_cannot_be_paused(tmp_path: Path) -> None:
    async with open_host(tmp_path) as host:
        await host.provision()
        await host.orders.hibernate("ada", "stop")
        answer = await host.client.post("/api/containers/ada/hibernate", json={"mode": "pause"})
        assert (answer.status_code, answer.json()["code"]) == (409, "wrong-state")


@pytest.mark.parametrize(
    "body", [{"mode": "sleep"}, {}, {"mode": "pause", "force": True}, [], "pause"]
)
async def test_a_wrong_mode_is_422_and_names_the_field(tmp_path: Path, body: object) -> None:
    async with open_host(tmp_path) as host:
        await host.provision()
        answer = await host.client.post("/api/containers/ada/hibernate", json=body)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid-request")
        assert answer.json()["errors"]


@pytest.mark.parametrize(
    "user_id", ["nobody", "%2e%2e", "ADA", "a%2Fb", "-x", "a" * 64, "ada%0A", "%00"]
)
@pytest.mark.parametrize(
    ("method", "suffix"),
    [("GET", ""), ("DELETE", ""), ("POST", "/wake"), ("POST", "/restart"), ("GET", "/events"),
     ("POST", "/disable"), ("POST", "/enable"), ("DELETE", "?state=keep"),
     ("GET", "/policy"), ("PUT", "/policy"), ("GET", "/logs"), ("POST", "/hibernate")],
)  # fmt: skip
async def test_an_unknown_or_odd_user_is_404(
    tmp_path: Path, method: str, suffix: str, user_id: str
) -> None:
    async with open_host(tmp_path) as host:
        await host.provision()
        json_body = {"/hibernate": {"mode": "pause"}, "/policy": {}}.get(suffix)
        answer = await host.client.request(
            method, f"http://agent/api/containers/{user_id}{suffix}", json=json_body
        )
        assert answer.status_code in (404, 405)
        assert answer.headers["content-type"] == "application/problem+json"
        assert list(host.runtime.containers) == ["ada"]


@pytest.mark.parametrize(
    "body",
    [
        {"userId": "../etc", "agentToken": AGENT_TOKEN},
        {"userId": "ada\n", "agentToken": AGENT_TOKEN},
        {"userId": "ada", "agentToken": "short"},
        {"userId": "ada", "agentToken": "has spaces and\nnew lines"},
        {"userId": "ada", "agentToken": AGENT_TOKEN, "image": "evil"},
        {"userId": "ada"},
    ],
)
async def test_a_wrong_provision_is_422_and_does_not_repeat_the_token(
    tmp_path: Path, body: dict[str, str]
) -> None:
    async with open_host(tmp_path) as host:
        answer = await host.client.post("/api/containers", json=body)
        assert answer.status_code == 422
        assert body.get("agentToken", "\0") not in answer.text
        assert host.runtime.containers == {}


async def test_a_body_that_is_too_large_is_413(tmp_path: Path) -> None:
    async with open_host(tmp_path, MAX_BODY_BYTES="1024") as host:
        answer = await host.client.post("/api/containers", content=b"x" * 1025)
        assert answer.status_code == 413


async def test_events_have_actor_reason_states_and_duration(tmp_path: Path) -> None:
    async with open_host(tmp_path) as host:
        await host.provision()
        await host.client.post("/api/containers/ada/hibernate", json={"mode": "pause"})
        await host.client.post("/api/containers/ada/wake")
        events = (await host.client.get("/api/containers/ada/events")).json()["events"]
        assert [e["toState"] for e in events] == [
            "provisioning", "running", "paused", "waking", "running",
        ]  # fmt: skip
        assert [e["why"] for e in events][2:] == ["ordered", "wake request", "wake request"]
        assert [e["who"] for e in events] == ["user", "user", "operator", "user", "user"]
        assert events[1]["durationMs"] is not None
        latest = (await host.client.get("/api/containers/ada/events?limit=1")).json()["events"]
        assert latest == events[-1:]


async def test_events_are_paged_backwards(tmp_path: Path) -> None:
    async with open_host(tmp_path) as host:
        await host.provision()
        for _ in range(3):
            await host.client.post("/api/containers/ada/hibernate", json={"mode": "pause"})
            await host.client.post("/api/containers/ada/wake")
        path = "/api/containers/ada/events"
        everything = (await host.client.get(path)).json()
        assert everything["earlier"] is None
        found: list[object] = []
        before = ""
        while True:
            page = (await host.client.get(f"{path}?limit=4{before}")).json()
            found = [*page["events"], *found]
            if page["earlier"] is None:
                break
            before = f"&before={page['earlier']}"
        assert found == everything["events"]
        assert len(found) == 11
        for wrong in ("before=0", f"before={2**63}", "limit=0", "limit=201", "before=x"):
            assert (await host.client.get(f"{path}?{wrong}")).status_code == 422


async def test_an_agent_says_why_it_is_awake_or_asleep_and_when_it_wakes(tmp_path: Path) -> None:
    async with open_host(tmp_path) as host:
        agent = await host.provision()
        path = "/api/containers/ada/events"
        host.clock.advance(minutes=12)
        told = (await host.client.get(path)).json()
        assert told["because"] == (
            "Awake for 12 min because: provision (the user); last used 12 min ago (provision)."
        )
        assert told["nextWakeAt"] is None
        host.gateway.jobs["ada"] = host.clock.now() + timedelta(hours=9)
        await host.fall_asleep()
        host.clock.advance(hours=2)
        told = (await host.client.get(path)).json()
        assert told["because"] == "Paused for 2 h because: idle (the policy)."
        assert told["nextWakeFor"] == "scheduled job"
        wake_at = datetime.fromisoformat(told["nextWakeAt"])
        assert agent.next_job_at is not None
        assert timedelta() < agent.next_job_at - wake_at <= timedelta(minutes=1)


async def test_a_users_policy_is_stored_and_returned(tmp_path: Path) -> None:
    path = "/api/containers/ada/policy"
    policy = {
        "pauseAfterMs": 60_000,
        "stopAfterMs": None,
        "neverSleep": False,
        "officeHours": {
            "timeZone": "Europe/Berlin",
            "days": ["mon", "fri"],
            "from": "09:00",
            "to": "17:30",
        },
        "maxAwakeMs": None,
        "heartbeatMinutes": 30,
    }
    async with open_host(tmp_path) as host:
        await host.provision()
        assert set((await host.client.get(path)).json().values()) == {None, False}
        assert (await host.client.put(path, json=policy)).json() == policy
        wrong = await host.client.put(path, json={"pauseAfterMs": -1, "naps": True})
        assert wrong.status_code == 422
        assert {e["field"] for e in wrong.json()["errors"]} == {"body.pauseAfterMs", "body.naps"}
    async with open_host(tmp_path) as host:
        assert (await host.client.get(path)).json() == policy
        assert (await host.client.put(path, json={})).json()["officeHours"] is None


async def test_a_policy_that_cannot_be_stored_is_not_followed(tmp_path: Path) -> None:
    async with open_host(tmp_path) as host:
        agent = await host.provision()
        await host.parts.registry._store._db.execute("PRAGMA query_only = 1")
        answer = await host.client.put("/api/containers/ada/policy", json={"neverSleep": True})
        assert answer.status_code == 503
        assert not agent.wishes.never_sleep


async def test_the_log_shows_no_token(tmp_path: Path) -> None:
    async with open_host(tmp_path) as host:
        agent = await host.provision()
        host.runtime.log_text = f"listening with {agent.gateway_token} and {AGENT_TOKEN}"
        answer = await host.client.get("/api/containers/ada/logs?lines=5")
        assert answer.text == "listening with ••• and •••"


async def test_metrics_show_states_transitions_and_wakes(tmp_path: Path) -> None:
    async with open_host(tmp_path) as host:
        await host.provision()
        await host.orders.hibernate("ada", "pause")
        await host.client.post("/api/containers/ada/wake")
        del host.client.headers[AUTH_HEADER]
        text = (await host.client.get("/metrics")).text
        assert 'ocmt_agents{state="running"} 1.0' in text
        assert 'ocmt_agent_transitions_total{from_state="running",to_state="paused"} 1.0' in text
        assert 'ocmt_agent_wake_seconds_count{from_state="paused"} 1.0' in text
        assert "ada" not in text


@asynccontextmanager
async def following(host: Host) -> AsyncIterator[AsyncIterator[httpx2.ServerSentEvent]]:
    """The event stream over a real socket: the client's ASGI transport does not stream."""
    async with (
        asyncio.timeout(60),
        serving(create_app(host.parts)) as endpoint,
        httpx2.AsyncClient(headers={AUTH_HEADER: TOKEN}, trust_env=False) as client,
        client.stream("GET", f"{endpoint.url}/api/events") as response,
    ):
        yield aiter(httpx2.EventSource(response))


async def test_the_event_stream_starts_with_everything_and_goes_on_with_changes(
    tmp_path: Path,
) -> None:
    async with open_host(tmp_path) as host:
        await host.provision()
        async with following(host) as events:
            first = await anext(events)
            await host.orders.hibernate("ada", "pause")
            change = await anext(events)
            host.parts.hub.close()
            assert [event async for event in events] == []
        assert first.event == "snapshot"
        (container,) = json.loads(first.data)["containers"]
        assert (container["userId"], container["hibernationState"]) == ("ada", "running")
        assert change.event == "message"
        assert json.loads(change.data)["userId"] == "ada"
        assert json.loads(change.data)["toState"] == "paused"


async def test_an_event_stream_ends_with_its_clients_connection(tmp_path: Path) -> None:
    async with open_host(tmp_path) as host:
        ended = asyncio.Event()
        subscribed = host.parts.hub.subscribed

        @contextmanager
        def watched() -> Iterator[Subscription]:
            try:
                with subscribed() as subscription:
                    yield subscription
            finally:
                ended.set()

        host.parts.hub.subscribed = watched  # type: ignore[method-assign]
        async with following(host) as events:
            await anext(events)
            assert not ended.is_set()
        async with asyncio.timeout(30):
            await ended.wait()


async def test_a_subscriber_that_falls_behind_is_dropped_and_delays_no_other(
    tmp_path: Path,
) -> None:
    async with open_host(tmp_path) as host:
        event = StateEvent(
            user_id="ada", at=host.clock.now(), from_state=None, to_state=S.RUNNING, why="x"
        )
    hub = EventHub()
    with hub.subscribed() as slow, hub.subscribed() as quick:
        for _ in range(QUEUE_SIZE + 5):
            hub.publish(event)
            assert await quick.next() == event
        got = 0
        while await slow.next() is not None:
            got += 1
        assert got == QUEUE_SIZE
