"""The engine's answers in the runtime's words: gone, refused, or already so."""

import calendar
import contextlib
import time
from collections.abc import Iterator

import aiohttp
from aiodocker.exceptions import DockerError

from ocmt_agent.runtime.base import RuntimeFailed, RuntimeUnavailable

_NO_CONNECTION = (0, 900)  # the status aiodocker gives when it reached nobody


@contextlib.contextmanager
def translated() -> Iterator[None]:
    try:
        yield
    except DockerError as error:
        if error.status in _NO_CONNECTION:
            raise no_engine(error.message) from error
        raise RuntimeFailed(f"Docker: {error.message}") from error
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise no_engine(str(error) or type(error).__name__) from error


@contextlib.contextmanager
def already(*messages: str) -> Iterator[None]:
    """Asking for what is already so is no error."""
    try:
        yield
    except DockerError as error:
        if not any(message in error.message for message in messages):
            raise


def no_engine(reason: str) -> RuntimeUnavailable:
    return RuntimeUnavailable(
        f"Docker does not answer ({reason}). Start it (`systemctl start docker`) and see that this "
        "server's user may use its socket; nothing here needs a restart."
    )


def no_image(image: str) -> RuntimeFailed:
    return RuntimeFailed(f"The image {image} is not on this host: make it with `ocmt image build`.")


def epoch_text(moment: str) -> str:
    """A moment as the engine shows it (`2026-11-29T12:00:00.123456789Z`), for its log filter."""
    whole, _, fraction = moment.removesuffix("Z").partition(".")
    return f"{calendar.timegm(time.strptime(whole, '%Y-%m-%dT%H:%M:%S'))}.{fraction or 0}"
