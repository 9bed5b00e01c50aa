"""Copies the agents' image to a host: `docker save` here, `docker load` there."""

import shutil
import subprocess
import tempfile
from pathlib import Path

from ocmt_common.console import say

from ocmt_cli.checkout import command
from ocmt_cli.deploy.inventory import load_inventory
from ocmt_cli.deploy.remote import Host, open_host
from ocmt_cli.failure import CommandFailed

_ID = "{{.Id}}"


def send_image(image: str, host: str, inventory: Path) -> None:
    """Copy `image` to `host`. Raises `CommandFailed`."""
    servers = load_inventory(inventory)
    entry = servers.host(host)
    if "agent" not in entry.roles:
        raise CommandFailed(f"{host} has no agents: its roles are {', '.join(entry.roles)}.")
    docker = shutil.which("docker")
    if docker is None:
        raise CommandFailed("docker is not installed on this machine. apt-get install docker.io")
    here = _id_here(docker, image)
    if not here:
        raise CommandFailed(f"The image {image} is not built. First: {command('image build')}")
    remote = open_host(entry, servers.deploy)
    try:
        if _id_there(remote, image) == here:
            say(f"{host} has {image} already.")
            return
        say(f"{host}: sending {image}")
        _stream(docker, image, remote)
        say(f"{host}: loaded {image}.")
    finally:
        remote.close()


def _id_here(docker: str, image: str) -> str:
    words = [docker, "image", "inspect", "--format", _ID, image]
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout.strip()


def _id_there(remote: Host, image: str) -> str:
    words = ("docker", "image", "inspect", "--format", _ID, image)
    return remote.run(words, step="inspect its images", check=False).stdout.strip()


def _stream(docker: str, image: str, remote: Host) -> None:
    with tempfile.TemporaryFile() as errors:
        loading = remote.popen(("docker", "load", "--quiet"), stderr=errors)
        saving = subprocess.run([docker, "save", image], stdout=loading.stdin, check=False)
        loading.communicate()
        if loading.returncode != 0:
            errors.seek(0)
            said = errors.read().decode(errors="replace")
            raise remote.failure(loading.returncode, said, "load the image")
        if saving.returncode != 0:
            raise CommandFailed(f"docker save {image} failed (exit code {saving.returncode}).")
