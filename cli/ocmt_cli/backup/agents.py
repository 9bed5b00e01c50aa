"""Copies a host's agents over one connection, each as an archive."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from ocmt_cli.backup.hostside import frames
from ocmt_cli.backup.hostside.dump import AGENT
from ocmt_cli.backup.manifest import LeftOut, Part
from ocmt_cli.backup.streams import Kept, StreamEnded, program, running
from ocmt_cli.deploy.pipes import close, give
from ocmt_cli.deploy.remote import Host


def fetch_agents(
    remote: Host, place: str, folder: Path, *, data_bytes: int
) -> tuple[list[Part], list[LeftOut]]:
    """Back up the agents of the host's folder `place` into the backup `folder`.

    Leaves out an agent with more than `data_bytes` bytes of data. Returns the archives, and what
    was left out. Raises `HostFailed`, or `OSError` if this machine's disk fails.
    """
    parts: list[Part] = []
    left_out: list[LeftOut] = []
    argv, first = program("dump-agents", place, data_bytes)
    step = "back up the agents"
    with running(remote, argv, step=step, first=first) as (given, printed):
        close(given)
        try:
            incoming = frames.received(printed)
            for kind, payload in incoming:
                if kind != frames.BEGIN:
                    raise frames.BadFrame("an archive's beginning is missing")
                agent = json.loads(payload)["agent"]
                if not AGENT.fullmatch(agent):
                    raise frames.BadFrame(f"{agent!a} is not an agent's id")
                name = f"data/{remote.name}-agents/{agent}.tar.gz"
                sha256, size, end = _fetch_one(incoming, folder / name)
                if end["failed"] is not None:
                    (folder / name).unlink()
                    left_out.append(LeftOut(remote.name, agent, "", end["failed"]))
                    continue
                parts.append(Part(name, "files", remote.name, "agent", place, sha256, size))
                left_out += _lacking(remote.name, agent, end)
        except (frames.BadFrame, ValueError, KeyError, TypeError) as error:
            raise StreamEnded(f"the host did not send a backup: {error}") from error
    return parts, left_out


def _fetch_one(incoming: Any, file: Path) -> tuple[str, int, dict[str, Any]]:
    kept = Kept(file)
    try:
        for kind, payload in incoming:
            if kind == frames.END:
                sha256, size = kept.close()
                return sha256, size, json.loads(payload)
            if kind != frames.DATA:
                break
            kept.write(payload)
        raise frames.BadFrame("an archive's end is missing")
    finally:
        kept.close()


def _lacking(host: str, agent: str, end: dict[str, Any]) -> list[LeftOut]:
    lacking = [LeftOut(host, agent, path, why) for path, why in end["leftOut"]]
    if end["more"]:
        lacking.append(LeftOut(host, agent, f"{end['more']} more paths", "for similar reasons"))
    return lacking


def stage_agents(
    remote: Host, place: str, folder: Path, parts: Sequence[Part]
) -> tuple[str, list[LeftOut]]:
    """Unpack the archives of the backup `folder` beside the host's agents' folder `place`.

    Returns the path of the new folder, which is to replace `place`, and the agents that were not
    unpacked. Raises `HostFailed`, or `OSError` if an archive cannot be read.
    """
    argv, first = program("stage-agents", place)
    with running(remote, argv, step="restore the agents", first=first) as (given, printed):
        for part in parts:
            if not _send_one(given, folder / part.file, _agent_of(part)):
                break  # it has ended; its exit code gives the reason
        else:
            give(given, frames.framed(frames.LAST))
        close(given)
        try:
            said = json.loads(printed.read())
            refused = [LeftOut(remote.name, agent, "", why) for agent, why in said["refused"]]
            staged: str = said["staged"]
        except (ValueError, KeyError, TypeError) as error:
            raise StreamEnded(f"the host did not report what it restored: {error}") from error
    return staged, refused


def _agent_of(part: Part) -> str | None:
    """The agent's id; `None` for format 1's archive of all agents."""
    name = Path(part.file).name.removesuffix(".tar.gz")
    return name if Path(part.file).parent.name.endswith("-agents") else None


def _send_one(given: IO[bytes], file: Path, agent: str | None) -> bool:
    sent = give(given, frames.framed(frames.BEGIN, json.dumps({"agent": agent}).encode()))
    with file.open("rb") as opened:
        while sent and (block := opened.read(1 << 20)):
            sent = give(given, frames.framed(frames.DATA, block))
    return sent and give(given, frames.framed(frames.END))
