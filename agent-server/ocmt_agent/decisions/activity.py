"""What counts as a user's activity."""

from enum import StrEnum


class ActivityKind(StrEnum):
    """What counts as the user's activity, and is remembered as what bumped the clock last."""

    PROVISION = "provision"
    HTTP = "http"
    WEBSOCKET = "websocket"
    WAKE = "wake"
