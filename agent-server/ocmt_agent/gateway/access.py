"""What it takes to speak to one user's gateway. Lives in memory only; never leaves this server."""

from dataclasses import dataclass

from ocmt_agent.gateway.device import DeviceKey
from ocmt_agent.runtime.base import Endpoint, SecretText


@dataclass(frozen=True, slots=True)
class GatewayAccess:
    """An awake gateway's address and our credentials for it."""

    user_id: str
    endpoint: Endpoint
    gateway_token: SecretText
    device: DeviceKey
