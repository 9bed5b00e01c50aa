"""The engine's images: inspect, load, pull by digest."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx2

from ocmt_cli.engine import Engine
from ocmt_cli.failure import CommandFailed

_CHUNK_BYTES = 1024 * 1024
_LONG_S = 1800


def label_of(engine: Engine, image: str, label: str) -> str | None:
    """The value of an image's label; `None` if the image or the label does not exist."""
    answer = engine.request("GET", f"/images/{image}/json")
    if answer.status_code != 200:
        return None
    labels = answer.json()["Config"].get("Labels") or {}
    found: str | None = labels.get(label)
    return found


def id_of(engine: Engine, image: str) -> str | None:
    """The id of an image by its name; `None` if the engine has none of that name."""
    answer = engine.request("GET", f"/images/{image}/json")
    return str(answer.json()["Id"]) if answer.status_code == 200 else None


def remove_unused(engine: Engine, image_id: str) -> None:
    """Remove an image, unless a container uses it or it has several names; failures are ignored."""
    engine.request("DELETE", f"/images/{image_id}", timeout=_LONG_S)


def load(engine: Engine, archive: Path) -> None:
    answer = engine.request(
        "POST",
        "/images/load",
        content=_chunks(archive),
        headers={"Content-Type": "application/x-tar"},
        timeout=_LONG_S,
    )
    _check(answer, doing="Loading the image")


def pull(engine: Engine, repository: str, digest: str, *, name: str) -> None:
    """Pull `repository@digest` and give it `name`. The engine verifies the digest.

    Raises `CommandFailed`.
    """
    answer = engine.request(
        "POST",
        "/images/create",
        params={"fromImage": repository, "tag": digest},
        timeout=_LONG_S,
    )
    _check(answer, doing=f"Pulling {repository}@{digest}")
    repo, _, tag = name.rpartition(":")
    tagged = engine.request(
        "POST", f"/images/{repository}@{digest}/tag", params={"repo": repo, "tag": tag}
    )
    _check(tagged, doing="Naming the image")


def _check(answer: httpx2.Response, *, doing: str) -> None:
    """Raise `CommandFailed` for an error status or an error in a stream with status 200."""
    if answer.status_code >= 400:
        raise CommandFailed(f"{doing} failed: {_message(answer.text)}")
    for line in answer.text.splitlines():
        if '"error"' in line:
            raise CommandFailed(f"{doing} failed: {_message(line)}")


def _message(text: str) -> str:
    try:
        said = json.loads(text)
        return str(said.get("message") or said.get("error") or text)
    except (ValueError, AttributeError):
        return text


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk
