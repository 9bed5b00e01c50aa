"""Whether a gateway is alive (`/healthz`) and done starting (`/startupz`).

`/readyz` may not gate a wake: it fails while a channel of the user's is broken, with the gateway
quite usable. OpenClaw's page `gateway/health.md` has the three.
"""

import aiohttp

from ocmt_agent.runtime.base import Endpoint

_NO_SUCH_PROBE = 404


async def is_live(session: aiohttp.ClientSession, endpoint: Endpoint) -> bool:
    """Whether a gateway answers there within two seconds."""
    return await _status(session, f"{endpoint.url}/healthz") == 200


async def is_started(session: aiohttp.ClientSession, endpoint: Endpoint) -> bool | None:
    """Whether it takes all calls now. Before, it listens but answers most with UNAVAILABLE.

    `None` of a gateway that is older than the probe.
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
