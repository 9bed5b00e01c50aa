"""What the page and the server exchange about notifications."""

from typing import Annotated

from ocmt_common.agent_api import Command, Wire
from pydantic import StringConstraints


class NotificationsView(Wire):
    key: str
    """The server's public key, in base64url, for `PushManager.subscribe`."""
    on: bool
    """Whether this session's device gets notifications."""
    anywhere: bool
    """Whether any device of the user gets them."""


class Subscription(Command):
    """A browser's `PushSubscription`; `public_key` is its `p256dh`. The keys are base64url
    without padding."""

    endpoint: Annotated[str, StringConstraints(max_length=1000)]
    public_key: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{87}$")]
    auth: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{22}$")]


class Attention(Command):
    visible: bool
    """Whether the page is on a screen."""
