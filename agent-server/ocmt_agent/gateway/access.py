"""Address and credentials of one user's gateway; this server never sends them to a caller."""

from dataclasses import dataclass

from ocmt_agent.gateway.device import DeviceKey
from ocmt_agent.runtime.base import Endpoint, SecretText


@dataclass(frozen=True, slots=True)
class GatewayAccess:
    """A gateway's address and this server's credentials for it."""

    user_id: str
    endpoint: Endpoint
    gateway_token: SecretText
    device: DeviceKey
