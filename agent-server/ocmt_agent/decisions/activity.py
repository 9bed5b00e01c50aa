"""The kinds of user activity, which keeps an agent awake."""

from enum import StrEnum


class ActivityKind(StrEnum):
    """What reset the idle time last; stored with the agent."""

    PROVISION = "provision"
    HTTP = "http"
    WEBSOCKET = "websocket"
    WAKE = "wake"
