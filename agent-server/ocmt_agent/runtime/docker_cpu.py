"""A container's CPU time, from its control group if visible, else from the engine.

A call to the engine takes over a millisecond of CPU per container; reading a file, microseconds.
"""

from pathlib import Path

from aiodocker.containers import DockerContainer

_ROOT = Path("/sys/fs/cgroup")


def cpu_file(container_id: str, *, root: Path = _ROOT) -> Path | None:
    """The file with a container's CPU time, for v1 or v2 and the cgroupfs or systemd driver.

    `None` if it is not visible on this host.
    """
    for file in (
        root / "cpuacct" / "docker" / container_id / "cpuacct.usage",
        root / "cpuacct" / "system.slice" / f"docker-{container_id}.scope" / "cpuacct.usage",
        root / "docker" / container_id / "cpu.stat",
        root / "system.slice" / f"docker-{container_id}.scope" / "cpu.stat",
    ):
        if file.exists():
            return file
    return None


def read_cpu_seconds(file: Path) -> float:
    """CPU seconds since the container's start. Raises `OSError` if it has stopped."""
    text = file.read_text()
    if file.name == "cpuacct.usage":
        return int(text) / 1e9
    return int(text.split("usage_usec ", 1)[1].split()[0]) / 1e6


async def ask_cpu_seconds(container: DockerContainer) -> float | None:
    """CPU seconds as the engine reports them, for a control group that is not visible here."""
    stats = await container.docker._query_json(
        f"containers/{container.id}/stats",
        method="GET",
        params={
            "stream": "false",
            "one-shot": "true",
        },  # without it, a second for a rate
    )
    used_ns: int = stats["cpu_stats"]["cpu_usage"]["total_usage"]
    return used_ns / 1e9 if used_ns else None  # a stopped container's is zero
