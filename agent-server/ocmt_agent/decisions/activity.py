"""The kinds of user activity, which resets the agent's idle clock."""

from enum import StrEnum


class ActivityKind(StrEnum):
    """The activity that last reset the idle clock; stored with the agent."""

    PROVISION = "provision"
    HTTP = "http"
    WEBSOCKET = "websocket"
    WAKE = "wake"
