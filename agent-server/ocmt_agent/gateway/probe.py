"""Probes whether a gateway is alive (`/healthz`) and has started (`/startupz`).

`/readyz` is not used for wakes: it fails while one of the user's channels is broken, although the
gateway is usable. OpenClaw's page `gateway/health.md` describes all three.
"""

import aiohttp

from ocmt_agent.runtime.base import Endpoint

_NO_SUCH_PROBE = 404


async def is_live(session: aiohttp.ClientSession, endpoint: Endpoint) -> bool:
    """Whether a gateway answers at `endpoint` within two seconds."""
    return await _status(session, f"{endpoint.url}/healthz") == 200


async def is_started(session: aiohttp.ClientSession, endpoint: Endpoint) -> bool | None:
    """Whether the gateway has started; until then it answers most calls with UNAVAILABLE.

    `None` if the gateway's version has no such probe.
    """
    status = await _status(session, f"{endpoint.url}/startupz")
    return None if status == _NO_SUCH_PROBE else status == 200


async def _status(session: aiohttp.ClientSession, url: str) -> int | None:
    try:
        async with session.get(
            url, timeout=aiohttp.ClientTimeout(total=2), allow_redirects=False
        ) as response:
            return response.status
    except (aiohttp.ClientError, TimeoutError, OSError):
        return None
