"""Structured logs: a JSON object per line (text on a terminal), with secrets masked.

Every line of a request has its id, which management passes to the agent server in `X-Request-Id`,
so that one grep finds all lines of a request.
"""

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, Literal

import structlog

LogFormat = Literal["json", "text"]

MASK = "•••"
_SECRET_KEY = re.compile(
    r"(^|_|-)(auth|authorization|cookie|token|secret|password|passwd|pass|api_?key|key|code)$", re.I
)
# Bearer credentials, and links with a token.
_SECRET_TEXT = re.compile(
    r"(?i)(bearer\s+|[?#&](?:token|code|key)=)[^\s&\"']+|(?<=://)[^/\s:@]+:[^\s\"'@]+(?=@)"
)


def mask_secrets(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Mask the values of keys that name a secret, and credentials inside texts."""
    for key, value in event.items():
        if _SECRET_KEY.search(key) and value is not None:
            event[key] = MASK
        elif isinstance(value, str):
            event[key] = _SECRET_TEXT.sub(lambda m: (m.group(1) or "") + MASK, value)
    return event


def configure_logging(*, form: LogFormat | None = None, level: int = logging.INFO) -> None:
    """Log to stderr in one form, from structlog and the standard library.

    `form` defaults to text on a terminal and JSON otherwise.
    """
    chosen = form or ("text" if sys.stderr.isatty() else "json")
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        mask_secrets,
    ]
    renderer: Any = (
        structlog.processors.JSONRenderer()
        if chosen == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    # Our middleware logs a line per request, with its id; `uvicorn.error` would add two per
    # WebSocket.
    logging.getLogger("uvicorn.access").disabled = True
    for chatty in ("uvicorn.error", "httpx2", "httpcore2", "alembic", "aiosqlite"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
