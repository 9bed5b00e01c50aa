"""Jobs as a gateway lists them: whatever an agent has put into them."""

from typing import Any

import pytest
from ocmt_agent.gateway.scheduled_jobs import MOST_JOBS, needs_wake, read_jobs
from ocmt_common.agent_api import JobKind

MORNING: dict[str, Any] = {
    "id": "0f5c0e5e-6c5c-4c5a-9d8e-0f5c0e5e6c5c",
    "name": "Morning news",
    "enabled": True,
    "schedule": {"kind": "cron", "expr": "0 8 * * *", "tz": "Europe/Berlin"},
    "payload": {"kind": "agentTurn", "message": "Tell me the news."},
    "state": {"runningAtMs": 1_790_000_000_000, "lastError": "no model"},
    "nextRunAtMs": 1_795_000_000_000,
    "lastRunAtMs": 1_790_000_000_000,
    "lastRunStatus": "error",
}


def test_a_job_is_read_with_its_times_and_its_last_outcome() -> None:
    [job] = read_jobs({"jobs": [MORNING]})
    assert (job.name, job.kind, job.task) == ("Morning news", JobKind.TURN, "Tell me the news.")
    assert (job.cron, job.time_zone, job.enabled, job.editable) == (
        "0 8 * * *", "Europe/Berlin", True, True,
    )  # fmt: skip
    assert (job.running, job.last_status, job.last_error) == (True, "error", "no model")
    assert job.next_run_at is not None
    assert job.next_run_at.year == 2026


@pytest.mark.parametrize(
    ("change", "kind", "task", "editable"),
    [
        ({"payload": {"kind": "heartbeat"}}, JobKind.HEARTBEAT, "", False),
        ({"payload": {"kind": "systemEvent", "text": "tea"}}, JobKind.EVENT, "tea", True),
        ({"payload": {"kind": "command", "argv": ["a", "b"]}}, JobKind.PROGRAM, "a b", True),
        ({"declarationKey": "memory-core:dreaming"}, JobKind.TURN, "Tell me the news.", False),
        ({"payload": None}, JobKind.PROGRAM, "", True),
    ],
)
def test_what_openclaw_keeps_by_itself_cannot_be_changed(
    change: dict[str, Any], kind: JobKind, task: str, editable: bool
) -> None:
    [job] = read_jobs({"jobs": [MORNING | change]})
    assert (job.kind, job.task, job.editable) == (kind, task, editable)


@pytest.mark.parametrize(
    "change",
    [
        {"id": "../../x"},
        {"id": ""},
        {"id": 7},
        {"id": "a" * 200},
        {"id": None},
    ],
)
def test_a_job_whose_id_cannot_be_sent_back_is_left_out(change: dict[str, Any]) -> None:
    assert read_jobs({"jobs": [MORNING | change]}) == []


@pytest.mark.parametrize("answer", [{}, {"jobs": None}, {"jobs": {}}, {"jobs": [None, 7, "x", []]}])
def test_an_answer_without_jobs_has_none(answer: dict[str, Any]) -> None:
    assert read_jobs(answer) == []


@pytest.mark.parametrize(
    "change",
    [
        {"name": "x" * 10_000, "payload": {"kind": "agentTurn", "message": "y" * 1_000_000}},
        {"schedule": {"everyMs": 1e300}, "nextRunAtMs": 1e300, "lastRunAtMs": True},
        {"schedule": "daily", "payload": [], "state": 3, "lastRunStatus": "great"},
        {"payload": {"kind": "command", "argv": ["z" * 9_000] * 9_000}},
    ],
)
def test_every_text_and_number_is_bounded(change: dict[str, Any]) -> None:
    [job] = read_jobs({"jobs": [MORNING | change]})
    assert len(job.name) <= 120
    assert len(job.task) <= 500
    assert len(job.model_dump_json()) < 3_000


def test_a_list_without_end_is_cut() -> None:
    rows = [MORNING | {"id": f"job-{number}"} for number in range(10_000)]
    assert len(read_jobs({"jobs": rows})) == MOST_JOBS


@pytest.mark.parametrize("heartbeats", [True, False])
def test_a_heartbeat_needs_a_wake_only_when_its_user_set_it(heartbeats: bool) -> None:
    heartbeat = MORNING | {"payload": {"kind": "heartbeat"}}
    assert (needs_wake(heartbeat, heartbeats=heartbeats) is not None) is heartbeats
    assert needs_wake(MORNING, heartbeats=heartbeats) is not None
    assert needs_wake(heartbeat | {"enabled": False}, heartbeats=heartbeats) is None
