"""Reads the jobs in an answer of a gateway's `cron.list`. Pure.

The agent may have chosen any of it, so it is bounded, and what is not understood is left out.
Source: OpenClaw's page `automation/cron-jobs.md`; the shapes are those of release 2026.9.6.
"""

from datetime import UTC, datetime
from typing import Any

from ocmt_common.agent_api import Job, JobId, JobKind
from ocmt_common.gateway_frames import as_object
from pydantic import TypeAdapter, ValidationError

MOST_JOBS = 200
"""As many as a gateway lists in one answer."""
_MOST_NAME = 120
_MOST_TASK = 500
_KINDS = {
    "agentTurn": JobKind.TURN,
    "systemEvent": JobKind.EVENT,
    "command": JobKind.PROGRAM,
    "script": JobKind.PROGRAM,
    "heartbeat": JobKind.HEARTBEAT,
}
_STATUSES = frozenset({"ok", "error", "skipped"})
_ID: TypeAdapter[str] = TypeAdapter(JobId)


def read_jobs(answer: dict[str, Any]) -> list[Job]:
    listed = answer.get("jobs")
    rows = listed[:MOST_JOBS] if isinstance(listed, list) else []
    return [job for row in rows if (job := _job(as_object(row))) is not None]


def needs_wake(row: object, *, heartbeats: bool) -> datetime | None:
    """When a job of the answer has to run next; `None` if its agent need not be woken for it."""
    job = as_object(row)
    if job.get("enabled") is False:
        return None
    if as_object(job.get("payload")).get("kind") == "heartbeat" and not heartbeats:
        return None
    return _time(job.get("nextRunAtMs"))


def _job(row: dict[str, Any]) -> Job | None:
    try:
        job_id = _ID.validate_python(row.get("id"))
    except ValidationError:
        return None
    payload, schedule = as_object(row.get("payload")), as_object(row.get("schedule"))
    state = as_object(row.get("state"))
    kind = _KINDS.get(str(payload.get("kind")), JobKind.PROGRAM)
    every_ms = schedule.get("everyMs")
    status = row.get("lastRunStatus") or state.get("lastRunStatus")
    return Job(
        id=job_id,
        name=_text(row.get("displayName") or row.get("name"), _MOST_NAME) or job_id,
        kind=kind,
        task=_task(payload),
        enabled=row.get("enabled") is not False,
        # OpenClaw declares its own jobs by a key and refuses changes to them.
        editable=kind is not JobKind.HEARTBEAT and not isinstance(row.get("declarationKey"), str),
        cron=_text(schedule.get("expr"), _MOST_NAME),
        time_zone=_text(schedule.get("tz"), _MOST_NAME),
        every_ms=every_ms if isinstance(every_ms, int) and 0 < every_ms < 2**53 else None,
        at=_text(schedule.get("at"), _MOST_NAME),
        running=isinstance(state.get("runningAtMs"), int | float),
        next_run_at=_time(row.get("nextRunAtMs")),
        last_run_at=_time(row.get("lastRunAtMs") or state.get("lastRunAtMs")),
        last_status=status if status in _STATUSES else None,
        last_error=_text(row.get("lastRunError") or state.get("lastError"), _MOST_TASK),
    )


def _task(payload: dict[str, Any]) -> str:
    for name in ("message", "text", "script"):
        text = _text(payload.get(name), _MOST_TASK)
        if text is not None:
            return text
    argv = payload.get("argv")
    words = [word for word in argv[:64] if isinstance(word, str)] if isinstance(argv, list) else []
    return _text(" ".join(word[:_MOST_TASK] for word in words), _MOST_TASK) or ""


def _text(value: object, most: int) -> str | None:
    if not isinstance(value, str) or not value:
        return None
    return value if len(value) <= most else value[: most - 1] + "…"


def _time(value: object) -> datetime | None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    try:
        return datetime.fromtimestamp(value / 1000, UTC)
    except (ValueError, OverflowError, OSError):  # beyond the calendar
        return None
