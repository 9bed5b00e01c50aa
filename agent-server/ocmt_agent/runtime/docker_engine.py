"""A client of the Docker Engine, and its errors converted to the runtime's."""

import asyncio
import calendar
import contextlib
import re
import time
from collections.abc import Iterator
from typing import Any

import aiodocker
import aiohttp
from aiodocker.containers import DockerContainer
from aiodocker.exceptions import DockerError
from ocmt_common.openclaw.versions import parse_version
from yarl import URL

from ocmt_agent.runtime.base import RuntimeFailed, RuntimeUnavailable

_NO_CONNECTION = (0, 900)  # aiodocker's statuses of a failed connection

_REFUSED_VERSION = re.compile(r"client version \S+ is too (old|new)")
GONE = ("No such container", "is already in progress", "is marked for removal")
"""The engine's messages for a container that has been or is being removed."""
_BEING_REMOVED = (*GONE[1:], "resource busy")
_REMOVAL_POLLS = 100
_VERSION_LABEL = "org.opencontainers.image.version"
_REMOVAL_POLL_S = 0.1


class DockerClient(aiodocker.Docker):
    """A client that negotiates the API version again if an upgraded engine rejects the old one."""

    async def _do_query(
        self, path: str | URL, method: str, **options: Any
    ) -> aiohttp.ClientResponse:
        try:
            return await super()._do_query(path, method, **options)
        except DockerError as error:
            if error.status != 400 or not _REFUSED_VERSION.search(error.message):
                raise
        self.api_version = "auto"
        # Safe to repeat, since the engine checks the version first.
        return await super()._do_query(path, method, **options)


class EngineConnection:
    """The client, connected on first use."""

    def __init__(self, *, timeout_s: float) -> None:
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._client: aiodocker.Docker | None = None

    def docker(self) -> aiodocker.Docker:
        """Return the client. Raises `RuntimeUnavailable` if no engine is found."""
        if self._client is None:
            try:
                self._client = DockerClient(timeout=self._timeout)
            except (DockerError, ValueError) as error:
                raise no_engine(str(error)) from error
            except AssertionError as error:  # raised by aiodocker without a socket
                raise no_engine("no socket found") from error
        return self._client

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()
            self._client = None


async def delete(container: DockerContainer) -> None:
    """Remove a container, and return once it is gone, even if another call is removing it.

    Raises `RuntimeFailed` if it is still there after the last poll.
    """
    for _ in range(_REMOVAL_POLLS):
        try:
            await container.delete(force=True, v=True)
        except DockerError as error:
            if error.status == 404:
                return
            if not any(words in error.message for words in _BEING_REMOVED):
                raise
        else:
            return
        await asyncio.sleep(_REMOVAL_POLL_S)
    raise RuntimeFailed(
        f"Docker did not remove the container {container.id[:12]} within "
        f"{_REMOVAL_POLLS * _REMOVAL_POLL_S:.0f} s. Restart Docker (`systemctl restart docker`), "
        "then try again."
    )


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
    """Ignore an engine error with one of `messages`: the container is already in that state."""
    try:
        yield
    except DockerError as error:
        if not any(message in error.message for message in messages):
            raise


def no_engine(reason: str) -> RuntimeUnavailable:
    return RuntimeUnavailable(
        f"Docker does not answer ({reason}). Start it (`systemctl start docker`), and let this "
        "server's user use its socket. The server reconnects by itself."
    )


def no_image(image: str) -> RuntimeFailed:
    return RuntimeFailed(
        f"The image {image} is not on this host: build it with `./ocmt image build`."
    )


def version_of(image: str, shown: dict[str, Any]) -> str:
    """The OpenClaw version of an image, from its label or, for upstream's images, its tag.

    Raises `RuntimeFailed` if it has none.
    """
    labels = shown["Config"].get("Labels") or {}
    for text in (labels.get(_VERSION_LABEL), image.rpartition(":")[2]):
        if text and parse_version(text) is not None:
            return str(text)
    raise RuntimeFailed(
        f"The image {image} has no OpenClaw version, so it cannot be checked against the agents' "
        f"state. Give it the label {_VERSION_LABEL}, or the version as its tag."
    )


def epoch_text(moment: str) -> str:
    """Convert an engine's timestamp (`2026-11-29T12:00:00.123456789Z`) to seconds since the epoch.

    The engine's log filter needs this form.
    """
    whole, _, fraction = moment.removesuffix("Z").partition(".")
    return f"{calendar.timegm(time.strptime(whole, '%Y-%m-%dT%H:%M:%S'))}.{fraction or 0}"
