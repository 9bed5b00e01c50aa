"""An agent's jobs: listed and changed while it is awake, and never a reason to wake it."""

from datetime import timedelta
from pathlib import Path

import pytest
from ocmt_agent.gateway.admin import GatewayRefused, GatewayUnreachable
from ocmt_common.agent_api import HibernationState as S
from ocmt_common.agent_api import Job, JobKind
from ocmt_testing.agent_server.host import Host, open_host

JOBS = "/api/containers/ada/jobs"
CHANGES = [("POST", "/run", None), ("PATCH", "", {"enabled": False}), ("DELETE", "", None)]


def job(job_id: str, *, editable: bool = True) -> Job:
    return Job(
        id=job_id,
        name=f"The {job_id}",
        kind=JobKind.TURN,
        task="Tell me the news.",
        enabled=True,
        editable=editable,
        cron="0 8 * * *",
    )


async def with_jobs(host: Host) -> None:
    await host.provision()
    jobs = [job("news"), job("dreams", editable=False)]
    host.gateway.all_jobs["ada"] = {one.id: one for one in jobs}


async def test_jobs_are_listed_run_paused_and_deleted(tmp_path: Path) -> None:
    async with open_host(tmp_path) as host:
        await with_jobs(host)
        listed = (await host.client.get(JOBS)).json()["jobs"]
        assert [(one["id"], one["editable"]) for one in listed] == [
            ("news", True), ("dreams", False),
        ]  # fmt: skip

        assert (await host.client.post(f"{JOBS}/news/run")).status_code == 202
        assert host.gateway.jobs_run == [("ada", "news")]
        paused = await host.client.patch(f"{JOBS}/news", json={"enabled": False})
        assert paused.status_code == 204
        assert host.gateway.all_jobs["ada"]["news"].enabled is False
        assert (await host.client.delete(f"{JOBS}/news")).status_code == 204
        assert list(host.gateway.all_jobs["ada"]) == ["dreams"]


async def test_a_list_is_no_use_and_a_change_is(tmp_path: Path) -> None:
    async with open_host(tmp_path) as host:
        await with_jobs(host)
        agent = host.parts.registry.get("ada")
        before = agent.activities
        await host.client.get(JOBS)
        assert (agent.activities, agent.in_flight) == (before, 0)
        await host.client.post(f"{JOBS}/news/run")
        assert (agent.activities > before, agent.in_flight) == (True, 0)


@pytest.mark.parametrize("mode", ["pause", "stop"])
async def test_a_sleeping_agent_is_not_woken(tmp_path: Path, mode: str) -> None:
    async with open_host(tmp_path) as host:
        await with_jobs(host)
        await host.orders.hibernate("ada", "pause" if mode == "pause" else "stop")
        state = host.state()
        answers = [await host.client.get(JOBS)]
        answers += [
            await host.client.request(method, f"{JOBS}/news{path}", json=body)
            for method, path, body in CHANGES
        ]
        assert [(one.status_code, one.json()["code"]) for one in answers] == [
            (409, "agent-asleep")
        ] * 4
        assert host.state() is state
        assert host.gateway.calls["list_jobs"] == 0


@pytest.mark.parametrize(("method", "path", "body"), CHANGES)
@pytest.mark.parametrize(
    ("job_id", "status", "code"),
    [
        ("other", 404, "no-such-job"),
        ("dreams", 409, "job-not-editable"),
        ("-x", 422, "invalid-request"),
        ("a b", 422, "invalid-request"),
        ("x" * 200, 422, "invalid-request"),
    ],
)
async def test_only_the_agents_own_jobs_are_changed(
    *, tmp_path: Path, method: str, path: str, body: object, job_id: str, status: int, code: str
) -> None:
    async with open_host(tmp_path) as host:
        await with_jobs(host)
        answer = await host.client.request(method, f"{JOBS}/{job_id}{path}", json=body)
        assert (answer.status_code, answer.json()["code"]) == (status, code)
        assert len(host.gateway.all_jobs["ada"]) == 2
        assert host.gateway.jobs_run == []


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        (GatewayUnreachable("no answer"), 503, "gateway-unreachable"),
        (GatewayRefused("UNAVAILABLE", "starting"), 503, "gateway-unreachable"),
        (GatewayRefused("INVALID_REQUEST", "this job runs"), 409, "job-refused"),
    ],
)
async def test_a_gateway_that_fails_is_reported_and_the_agent_may_sleep_again(
    tmp_path: Path, fault: Exception, status: int, code: str
) -> None:
    async with open_host(tmp_path) as host:
        await with_jobs(host)
        host.gateway.faults["remove_job"] = [fault]
        answer = await host.client.delete(f"{JOBS}/news")
        assert (answer.status_code, answer.json()["code"]) == (status, code)
        await host.fall_asleep()
        assert host.state() is S.PAUSED


async def test_an_agent_does_not_fall_asleep_under_a_request(tmp_path: Path) -> None:
    async with open_host(tmp_path) as host:
        await with_jobs(host)
        async with host.wakes.using_if_awake("ada"):
            await host.fall_asleep()
            assert host.state() is S.RUNNING
        await host.fall_asleep()
        assert host.state() is S.PAUSED


async def test_a_heartbeat_is_written_and_wakes_only_while_it_is_set(tmp_path: Path) -> None:
    policy = "/api/containers/ada/policy"
    async with open_host(tmp_path) as host:
        await host.provision()
        assert host.runtime.heartbeats == {"ada": None}
        answer = await host.client.put(policy, json={"heartbeatMinutes": 30})
        assert answer.json()["heartbeatMinutes"] == 30
        assert host.runtime.heartbeats["ada"] == 30
        host.gateway.jobs["ada"] = host.clock.now() + timedelta(hours=2)
        await host.orders.hibernate("ada", "pause")
        assert host.gateway.heartbeats_wake["ada"] is True
        assert (await host.client.get("/api/containers/ada")).json()["nextWakeAt"] is not None

        await host.client.put(policy, json={})
        assert host.runtime.heartbeats == {"ada": None}
        assert host.state() is S.PAUSED
        await host.wakes.awake("ada", kind=host.parts.registry.get("ada").last_activity_kind)
        await host.orders.hibernate("ada", "pause")
        assert host.gateway.heartbeats_wake["ada"] is False


@pytest.mark.parametrize("minutes", [0, 4, 1441, -1, "often", 7.5])
async def test_what_is_no_interval_of_a_heartbeat_is_refused(
    tmp_path: Path, minutes: object
) -> None:
    async with open_host(tmp_path) as host:
        await host.provision()
        answer = await host.client.put(
            "/api/containers/ada/policy", json={"heartbeatMinutes": minutes}
        )
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid-request")
