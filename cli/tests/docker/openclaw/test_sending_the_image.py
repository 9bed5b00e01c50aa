"""`ocmt image send`: from this machine's engine to a server's engine, over a real ssh."""

import io
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ocmt_cli.failure import CommandFailed
from ocmt_cli.openclaw.sending import send_image
from ocmt_testing.deploy import farm as deploy_farm

NAME = "ocmt-test/sent:1"


@pytest.fixture
def image() -> Iterator[str]:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        entry = tarfile.TarInfo("hello")
        entry.size = 5
        archive.addfile(entry, io.BytesIO(b"hello"))
    words = ["docker", "import", "-", NAME]
    subprocess.run(words, input=content.getvalue(), check=True, capture_output=True)
    yield NAME
    subprocess.run(["docker", "rmi", "--force", NAME], check=False, capture_output=True)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[str]:
    """The address of the server's engine: a second one, without the first one's images.

    It runs in a network namespace of its own: an engine without a bridge removes the first one's.
    """
    address = f"unix://{tmp_path}/docker.sock"
    places = ("--data-root", tmp_path / "data", "--exec-root", tmp_path / "exec")
    with (tmp_path / "log").open("wb") as log:
        dockerd = subprocess.Popen(
            ["unshare", "--net", "dockerd", "--host", address, "--pidfile", tmp_path / "pid",
             *places, "--bridge", "none", "--iptables=false", "--ip6tables=false"],
            stdout=log, stderr=log,
        )  # fmt: skip
    try:
        deadline = time.monotonic() + 60
        while subprocess.run(
            ["docker", "-H", address, "info"], check=False, capture_output=True
        ).returncode:
            assert dockerd.poll() is None, (tmp_path / "log").read_text()[-2000:]
            assert time.monotonic() < deadline
            time.sleep(0.2)
        yield address
    finally:
        dockerd.terminate()
        dockerd.wait(60)


def test_an_agent_server_gets_the_image_once(
    image: str, engine: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with deploy_farm.farm() as farm:
        server = farm.machines["agent"]
        server.stop()
        server.settings = f"SetEnv DOCKER_HOST={engine}\n"
        server.start()
        send_image(image, "agent", farm.inventory)
        listed = subprocess.run(
            ["docker", "-H", engine, "image", "ls", "--format", "{{.Repository}}:{{.Tag}}"],
            check=True, capture_output=True, text=True,
        ).stdout  # fmt: skip
        assert listed.split() == [image]
        assert f"agent: loaded {image}." in capsys.readouterr().out

        send_image(image, "agent", farm.inventory)
        assert f"agent has {image} already." in capsys.readouterr().out

        with pytest.raises(CommandFailed, match="mgmt has no agents: its roles are mgmt"):
            send_image(image, "mgmt", farm.inventory)
        with pytest.raises(CommandFailed, match="The image ocmt-test/none:1 is not built"):
            send_image("ocmt-test/none:1", "agent", farm.inventory)
        server.settings = f"SetEnv DOCKER_HOST={engine}.gone\n"
        server.stop()
        server.start()
        with pytest.raises(CommandFailed, match="agent"):
            send_image(image, "agent", farm.inventory)
