"""The checks of `ocmt doctor`, each with what was found and the cure."""

import platform
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from ocmt_common.openclaw import default_image, openclaw_version

from ocmt_cli.checkout import command
from ocmt_cli.doctor.machine import control_groups, memory, postgresql_programs, program
from ocmt_cli.engine import Engine, EngineSlow
from ocmt_cli.node import node_binary
from ocmt_cli.openclaw.install import is_installed
from ocmt_cli.ports import free_base, holder, is_free
from ocmt_cli.trust import ending
from ocmt_cli.trust.authority import ends_at
from ocmt_cli.up.data_folder import DataFolder
from ocmt_cli.up.page import page_is_current
from ocmt_cli.up.run_state import read_record
from ocmt_cli.up.servers import agent_port, relay_port

Level = Literal["ok", "note", "missing"]

SECRETS = Path("ocmt.secrets")
"""The CA's folder of the default inventory (`trust.folder.trust_path`)."""
_AWAKE_BYTES = (700_000_000, 900_000_000)
_INSTALL_BYTES = 2_000_000_000


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check. `missing` prevents `ocmt up`; `note` does not."""

    name: str
    level: Level
    found: str
    cure: str = ""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def all_checks(data: DataFolder, *, port: int) -> Iterator[Check]:
    yield _system()
    yield Check("python", "ok", platform.python_version())
    yield _node()
    yield from _engine()
    yield _control_groups()
    yield from _memory()
    yield _disk(data)
    yield from _ports(data, port)
    yield _page()
    yield _openclaw(data)
    yield from certificates(SECRETS, now=datetime.now(UTC))
    yield from _test_programs()


def _system() -> Check:
    found = f"{platform.system()} {platform.release()}, {platform.machine()}"
    if platform.system() != "Linux":
        return Check("system", "missing", found, "OCMT runs on Linux only.")
    return Check("system", "ok", found)


def _node() -> Check:
    node = node_binary()
    if not node.exists():
        return Check("node", "missing", "not in .venv", "Delete .venv and run ./ocmt again.")
    return Check("node", "ok", f"from PyPI, {node}")


def _engine() -> Iterator[Check]:
    engine = Engine()
    try:
        version = engine.version()
        if version is None:
            yield Check(
                "docker",
                "note",
                "no engine answers; agents run as plain processes of this user",
                f"For containers: {engine.cure()}",
            )
            return
        yield Check("docker", "ok", f"engine {version}")
        image = default_image()
        if engine.has_image(image):
            yield Check("image", "ok", image)
        else:
            yield Check(
                "image", "note", f"{image} has not been built", f"Run: {command('image build')}"
            )
            for name in ("mmdebstrap", "gcc"):
                if program(name) is None:
                    yield Check(
                        name,
                        "note",
                        f"not installed; `{command('image build')}` needs it",
                        f"apt-get install {name}",
                    )
    except EngineSlow as slow:
        yield Check("docker", "missing", "the engine takes too long to answer", str(slow))
    finally:
        engine.close()


def _control_groups() -> Check:
    groups = control_groups()
    lacking = {"freezer", "memory"} - groups.controllers
    listed = ", ".join(sorted(groups.controllers)) or "none"
    if lacking:
        return Check(
            "cgroups",
            "note",
            f"v{groups.version}: {listed}" if groups.version else "none",
            f"Without {' and '.join(sorted(lacking))}, the process runtime pauses with SIGSTOP and "
            "sets no limits. Docker needs a kernel with them.",
        )
    return Check("cgroups", "ok", f"v{groups.version}: {listed}")


def _memory() -> Iterator[Check]:
    now = memory()
    most, least = (now.available_bytes // size for size in _AWAKE_BYTES)
    agents = f"{least}–{most}" if most != least else str(least)
    found = (
        f"{now.total_bytes / 1e9:.1f} GB, {now.available_bytes / 1e9:.1f} GB available: room for "
        f"{agents} agents awake at a time (700–900 MB each)"
    )
    if least < 1:
        yield Check("memory", "missing", found, "An agent needs 900 MB of available memory.")
    else:
        yield Check("memory", "ok", found)
    swap = (
        f"{now.swap_on_disk_bytes / 1e9:.1f} GB on disk, "
        f"{now.swap_compressed_bytes / 1e9:.1f} GB compressed in RAM"
    )
    if now.swap_on_disk_bytes == 0:
        yield Check(
            "swap",
            "note",
            swap,
            "Without swap on disk a sleeping agent keeps its 700–900 MB of RAM; with swap, about "
            f"25 MB. See the steps: {command('memory enable --plan')}",
        )
    else:
        yield Check("swap", "ok", swap)


def _disk(data: DataFolder) -> Check:
    there = next(folder for folder in (data.root, *data.root.parents) if folder.exists())
    free = shutil.disk_usage(there).free
    found = f"{free / 1e9:.1f} GB free at {there}"
    if free < _INSTALL_BYTES and not is_installed(data.openclaw):
        return Check(
            "disk",
            "missing",
            found,
            "OpenClaw needs 2 GB. Free some space, or choose another folder with --data.",
        )
    return Check("disk", "ok", found)


def _ports(data: DataFolder, port: int) -> Iterator[Check]:
    record = read_record(data.root)
    ours = record.port if record is not None and record.is_alive() else None
    for number in (port, agent_port(port), relay_port(port)):
        if ours == port:
            yield Check("port", "ok", f"{number}: in use by this OCMT")
        elif is_free(number):
            yield Check("port", "ok", f"{number}: free")
        else:
            others = command(f"up --port {free_base(port + 100)}", data=data.root)
            yield Check(
                "port",
                "missing",
                f"{number}: taken by {holder(number) or 'another process'}",
                f"Stop that program, or choose other ports: {others}",
            )


def _page() -> Check:
    return Check("page", "ok", "built" if page_is_current() else "`up` will build it")


def certificates(folder: Path, *, now: datetime) -> Iterable[Check]:
    """The checks of the hosts' certificates in `folder`; none if it does not exist."""
    for name, text in ending.in_folder(folder).items():
        end = ends_at(text)
        if end is None:
            cure = f"Run: {command(f'setup {name}')}"
            yield Check("certificate", "note", f"{folder / name}.pem holds no certificate", cure)
        elif warning := ending.warning(text, now):
            yield Check("certificate", "note", f"{name}: {warning}")
        else:
            yield Check("certificate", "ok", f"{name}: valid until {end:%Y-%m-%d}")


def _openclaw(data: DataFolder) -> Check:
    there = "installed" if is_installed(data.openclaw) else "`up` will install it"
    return Check("openclaw", "ok", f"{openclaw_version()}, {there}")


def _test_programs() -> Iterable[Check]:
    for name, found, package in (
        ("chromium", program("chromium", "chromium-browser", "google-chrome"), "chromium"),
        ("postgresql", postgresql_programs(), "postgresql"),
    ):
        if found:
            yield Check(name, "ok", found)
        else:
            yield Check(
                name, "note", "not installed; some tests need it", f"apt-get install {package}"
            )
