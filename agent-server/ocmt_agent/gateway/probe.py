"""Whether a gateway is alive at all: `/healthz`, the one probe that may gate a wake.

`/readyz` may not: it fails while a channel of the user's is broken, with the gateway quite usable.
"""

import aiohttp

from ocmt_agent.runtime.base import Endpoint


async def is_live(session: aiohttp.ClientSession, endpoint: Endpoint) -> bool:
    """Whether a gateway answers there within two seconds."""
    try:
        async with session.get(
            f"{endpoint.url}/healthz",
            timeout=aiohttp.ClientTimeout(total=2),
            allow_redirects=False,
        ) as response:
            return response.status == 200
    except (aiohttp.ClientError, TimeoutError, OSError):
        return False
