"""A client of OpenClaw's bundled `admin-http-rpc` plugin: health, cron, suspension, pairing.

The plugin gives full operator rights over one user's gateway, so only this server calls it.
Sources: OpenClaw's pages `plugins/admin-http-rpc.md` and `gateway/external-apps.md`.
"""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import aiohttp
from ocmt_common import bounded_json
from ocmt_common.agent_api import Job

from ocmt_agent.gateway.access import GatewayAccess
from ocmt_agent.gateway.blockers import kinds_and_counts
from ocmt_agent.gateway.scheduled_jobs import MOST_JOBS, needs_wake, read_jobs

_PATH = "/api/v1/admin/rpc"
_CODE = re.compile(r"[A-Z][A-Z_]{0,40}")
_MAX_ANSWER_BYTES = 4 * 1024 * 1024
# Gateways' own texts are stored, logged and shown, so their length is limited.
_MOST_CHARACTERS = 500


class GatewayUnreachable(Exception):
    """The gateway did not answer, or not with a valid answer."""


class GatewayRefused(Exception):
    """The gateway answered with an error. `code` is OpenClaw's (`UNAVAILABLE`, …) or `UNKNOWN`."""

    def __init__(self, code: str, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.retry_after_s = retry_after_s

    @property
    def passing(self) -> bool:
        """Whether to retry: the gateway is starting, suspended, or over a rate limit."""
        return self.code == "UNAVAILABLE"


@dataclass(frozen=True, slots=True)
class Suspended:
    """A lease: the gateway admits no new work until it is given back or expires after 2 minutes."""

    suspension_id: str
    """`NO_LEASE` for a gateway without suspension."""


@dataclass(frozen=True, slots=True)
class Busy:
    """The gateway cannot be suspended now; `blockers` say why, mostly kinds and counts of work."""

    blockers: list[str]
    retry_after_s: float


class GatewayAdmin:
    """Admin calls to any gateway. Methods raise `GatewayUnreachable` or `GatewayRefused`."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def call(
        self,
        access: GatewayAccess,
        method: str,
        params: dict[str, Any] | None = None,
        *,
        timeout_s: float = 10.0,
    ) -> dict[str, Any]:
        """Make a call. Returns the answer's `payload`."""
        try:
            async with self._session.post(
                access.endpoint.url + _PATH,
                json={"method": method, "params": params or {}},
                headers={"Authorization": f"Bearer {access.gateway_token}"},
                timeout=aiohttp.ClientTimeout(total=timeout_s),
                allow_redirects=False,
            ) as response:
                status = response.status
                answer = bounded_json.read(await _whole(response.content))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            reason = str(error) or type(error).__name__
            raise GatewayUnreachable(f"{method} got no answer: {reason}") from error
        except ValueError as error:
            raise GatewayUnreachable(
                f"{method} got HTTP {status} without valid JSON ({error})"
            ) from error
        if not isinstance(answer, dict):
            raise GatewayUnreachable(f"{method} got HTTP {status} without a JSON object")
        return payload_of(method, answer)

    async def health(self, access: GatewayAccess) -> None:
        """Check that the gateway accepts admin calls, which it rejects in its first second."""
        await self.call(access, "health", timeout_s=5)

    async def next_job_at(
        self, access: GatewayAccess, *, heartbeats: bool = False
    ) -> datetime | None:
        """When a scheduled job has to run next; `None` if no job needs a wake.

        Heartbeats need one only if their user has set them (`heartbeats`).
        """
        if not (await self.call(access, "cron.status")).get("enabled", True):
            return None
        jobs = _list((await self.call(access, "cron.list")).get("jobs"))
        times = (needs_wake(job, heartbeats=heartbeats) for job in jobs)
        return min((due for due in times if due is not None), default=None)

    async def list_jobs(self, access: GatewayAccess) -> list[Job]:
        """The agent's scheduled jobs, at most `MOST_JOBS`, also those that are not enabled."""
        params = {"includeDisabled": True, "limit": MOST_JOBS}
        return read_jobs(await self.call(access, "cron.list", params))

    async def run_job(self, access: GatewayAccess, job_id: str) -> None:
        """Start a job now, also one that is not enabled; does not wait for its end."""
        await self.call(access, "cron.run", {"id": job_id, "mode": "force"})

    async def enable_job(self, access: GatewayAccess, job_id: str, *, enabled: bool) -> None:
        await self.call(access, "cron.update", {"id": job_id, "patch": {"enabled": enabled}})

    async def remove_job(self, access: GatewayAccess, job_id: str) -> None:
        await self.call(access, "cron.remove", {"id": job_id})

    async def suspend(self, access: GatewayAccess, *, request_id: str) -> Suspended | Busy:
        """Request a lease, under which the gateway admits no new work and may be frozen.

        Repeating a `request_id` renews its lease. A gateway without suspension is `Suspended` if it
        lists no active runs, else `Busy`.
        """
        try:
            answer = await self.call(
                access, "gateway.suspend.prepare", {"requestId": request_id}, timeout_s=30
            )
        except GatewayRefused as refusal:
            if refusal.passing:
                return Busy(["its gateway takes no calls yet"], refusal.retry_after_s or 10)
            if _unknown_method(refusal):
                return await self._unsuspendable(access)
            raise
        if answer.get("status") == "ready" and isinstance(answer.get("suspensionId"), str):
            return Suspended(answer["suspensionId"])
        blockers = kinds_and_counts(answer.get("blockers")) or ["it is working"]
        return Busy(blockers, _seconds(answer.get("retryAfterMs")) or 10)

    async def resume(self, access: GatewayAccess, suspension_id: str) -> None:
        """Give the lease back, so that the gateway admits work. Safe to repeat."""
        if suspension_id == NO_LEASE:
            return
        try:
            await self.call(access, "gateway.suspend.resume", {"suspensionId": suspension_id})
        except GatewayRefused as refusal:
            # The lease has expired or belongs to an earlier process, so the gateway admits work.
            if refusal.code != "INVALID_REQUEST":
                raise

    async def active_runs(self, access: GatewayAccess) -> int | None:
        """How many of the latest 200 conversations have a run in progress; `None` if unknown."""
        try:
            sessions = (await self.call(access, "sessions.list", {"limit": 200})).get("sessions")
        except GatewayRefused:
            return None
        if not isinstance(sessions, list):
            return None
        return sum(1 for s in sessions if isinstance(s, dict) and s.get("hasActiveRun"))

    async def _unsuspendable(self, access: GatewayAccess) -> Suspended | Busy:
        running = await self.active_runs(access)
        if running is None:
            return Busy(["its OpenClaw is too old to report whether it is idle; upgrade it"], 600)
        return Busy([f"{running} active run(s)"], 20) if running else Suspended(NO_LEASE)


async def _whole(content: aiohttp.StreamReader) -> bytes:
    """The whole body of an answer. Raises `ValueError` above `_MAX_ANSWER_BYTES`."""
    received = bytearray()
    async for chunk in content.iter_any():
        received += chunk
        if len(received) > _MAX_ANSWER_BYTES:
            raise ValueError(f"more than {_MAX_ANSWER_BYTES} bytes")
    return bytes(received)


NO_LEASE = "none"
"""The suspension id of a gateway without suspension: there is no lease to give back."""


def payload_of(method: str, answer: dict[str, Any]) -> dict[str, Any]:
    """The payload of an answer over HTTP or a socket. Raises as `GatewayAdmin`'s calls do."""
    if answer.get("ok") is True:
        payload = answer.get("payload")
        return payload if isinstance(payload, dict) else {}
    error = answer.get("error")
    if not isinstance(error, dict):
        raise GatewayUnreachable(f"{method} got an error without a reason")
    code = str(error.get("code"))
    raise GatewayRefused(
        code if _CODE.fullmatch(code) else "UNKNOWN",
        str(error.get("message", "no message"))[:_MOST_CHARACTERS],
        retry_after_s=_seconds(error.get("retryAfterMs")),
    )


def _unknown_method(refusal: GatewayRefused) -> bool:
    text = refusal.message.lower()
    return refusal.code == "INVALID_REQUEST" and "method" in text


def _seconds(ms: object) -> float | None:
    """The gateway's `retryAfterMs` in seconds, at most an hour; `None` if it is not a number."""
    return min(max(ms, 0), 3_600_000) / 1000 if isinstance(ms, int | float) else None


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
