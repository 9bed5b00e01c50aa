"""A tenant in a container of the real image attacks the host and another tenant.

`tenant.mjs` is the tenant; each test makes it try one kind of attack, and none succeeds.
"""

import asyncio
import json
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
import uvicorn
from aiodocker.stream import Stream
from ocmt_agent.decisions.disk_limit import DiskLimit, Fullness, standing
from ocmt_agent.decisions.exit_explanation import how_it_ended
from ocmt_agent.disk.usage import measure
from ocmt_agent.proxy.connection_limit import MOST_PER_ADDRESS, bounded
from ocmt_agent.proxy.forwarding import open_session
from ocmt_agent.proxy.relay import relay_app
from ocmt_agent.proxy.server_options import socket_options
from ocmt_agent.runtime.accounts import host_account
from ocmt_agent.runtime.base import AgentSpec, SecretText
from ocmt_agent.runtime.docker import DockerRuntime
from ocmt_agent.runtime.spec import GATEWAY_PORT, Limits
from ocmt_common.console import say
from ocmt_common.openclaw import default_image
from ocmt_testing.agent_server.docker_agents import executed, prepare, running_instead, said_in
from ocmt_testing.agent_server.serving import MAX_FRAME_BYTES
from ocmt_testing.agent_server.swap import some_swap
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.needs("root")]

TENANT = Path(__file__).with_name("tenant.mjs").read_text(encoding="utf-8")
LIMITS = Limits(memory_mb=160, cpus=1.0, pids=64)
MB = 1 << 20
# Clears the screen, and writes into the clipboard of the log's reader.
ESCAPES = r"\033[2J\033]52;c;ZXZpbA==\007\n"
VICTIM = """
const fs = require("fs"), dgram = require("dgram"), net = require("net");
net.createServer((each) => each.end()).listen(18789, "0.0.0.0");
const socket = dgram.createSocket("udp4", (text) => fs.appendFileSync("heard", text + "\\n"));
socket.bind(18789, () => { socket.addMembership("224.0.0.251"); fs.writeFileSync("heard", ""); });
"""


@dataclass
class Host:
    """A host with two tenants: `ada`, who works, and `eve`, who attacks."""

    root: Path
    runtime: DockerRuntime
    bridge: str
    relay_port: int
    tokens: dict[str, str]
    ada: str
    """Her container's address."""

    async def tries(self, attempt: str, *given: str) -> list[str]:
        """The parts of an attack that succeeded."""
        command = ("node", "--input-type=module", "-e", TENANT, attempt, *given)
        async with asyncio.timeout(60):
            said = await said_in(self.runtime, "eve", *command)
        found = json.loads(said.strip().splitlines()[-1])
        assert isinstance(found, list)
        return found

    @asynccontextmanager
    async def holding(self, attempt: str, *given: str) -> AsyncIterator[list[str]]:
        """The same, while the tenant keeps what it took; the list is filled at the end."""
        command = ("node", "--input-type=module", "-e", TENANT, attempt, *given)
        through: list[str] = []
        async with executed(self.runtime, "eve", *command) as stream, asyncio.timeout(90):
            await lines_until(stream, "held")
            yield through
            await stream.write_in(b"end\n")
            through += json.loads((await lines_until(stream, "["))[-1])


async def lines_until(stream: Stream, begins: str) -> list[str]:
    said = ""
    while not (lines := [line for line in said.splitlines() if line.startswith(begins)]):
        message = await stream.read_out()
        assert message is not None, said
        said += message.data.decode(errors="replace")
    return lines


def until_written(file: Path, words: str) -> None:
    deadline = time.monotonic() + 30
    while not file.exists() or words not in file.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)


async def management(_: Request) -> PlainTextResponse:
    return PlainTextResponse("[]")


@asynccontextmanager
async def listening(app: object, host: str, **options: object) -> AsyncIterator[int]:
    """Serve uvicorn at an address of this machine; yields its port."""
    listener = socket.create_server((host, 0), backlog=1024)
    config = uvicorn.Config(app, log_config=None, lifespan="off", **options)  # type: ignore[arg-type]
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield int(listener.getsockname()[1])
    finally:
        server.should_exit = True
        await task
        listener.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def host(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Host]:
    root = tmp_path_factory.mktemp("tenants") / "agents"
    await asyncio.to_thread(prepare, root)
    runtime = DockerRuntime(
        image=default_image(), state_root=root, limits=LIMITS, relay_host=None, relay_port=9
    )
    tokens = {user: secrets.token_urlsafe(32) for user in ("ada", "eve", "ada-gateway")}
    bridge = await runtime.relay_host()
    app = Starlette(routes=[Route("/llm/{path:path}", management)])
    try:
        async with open_session() as session, listening(app, "127.0.0.1") as managed:
            relay = relay_app(
                f"http://127.0.0.1:{managed}", set(tokens.values()).__contains__, session
            )
            options = socket_options(max_frame_bytes=MAX_FRAME_BYTES)
            async with listening(relay, bridge, http=bounded(), **options) as port:
                started = f"printf '{ESCAPES}'; exec sleep infinity"
                with running_instead("sh", "-c", started):
                    addresses = {}
                    for number, user in ((1001, "ada"), (1002, "eve")):
                        gateway = SecretText(tokens.get(f"{user}-gateway", "0" * 32))
                        spec = AgentSpec(user, gateway, SecretText(tokens[user]), number)
                        await runtime.create(spec)
                        addresses[user] = (await runtime.start(user)).host
                async with executed(runtime, "ada", "sh", "-c", 'cd && exec node -e "$0"', VICTIM):
                    await asyncio.to_thread(until_written, root / "ada" / "state" / "heard", "")
                    yield Host(root, runtime, bridge, port, tokens, addresses["ada"])
    finally:
        for user_id in await runtime.observe_all():
            await runtime.remove(user_id, with_state=True)
        await runtime.close()


async def works(host: Host) -> bool:
    """Whether the other tenant can still start a program and watch a folder."""
    command = ("node", "--input-type=module", "-e", TENANT, "watch")
    async with asyncio.timeout(30):
        return (await said_in(host.runtime, "ada", *command)).strip() == "[]"


# The tools of the image, for a uid that the image does not know


async def test_its_own_tools_work_for_a_uid_that_the_image_does_not_know(host: Host) -> None:
    uid = host_account(1001).uid
    script = f"""
        test "$(id -u):$(id -un):$(id -gn)" = "{uid}:node:node" && test "$HOME" = ~node &&
        node -p 'require("os").userInfo().username + require("os").homedir()' &&
        ssh-keygen -q -t ed25519 -N "" -f ~/key && ssh -G example.org >/dev/null 2>&1 &&
        (ssh -T -o BatchMode=yes -o ConnectTimeout=1 127.0.0.1 2>&1 | grep -c refused) &&
        git init -q ~/repo && cd ~/repo && echo one >file && git add file &&
        git -c user.name=Ada -c user.email=ada@example.com commit -qm One && git log --format=%an &&
        openclaw --version >/dev/null && curl --version >/dev/null && rg --version >/dev/null &&
        touch /tmp/file && echo all
    """
    said = (await said_in(host.runtime, "ada", "sh", "-c", script)).split()
    assert said == ["node/home/node/.openclaw", "1", "Ada", "all"]


# Network


async def test_no_other_agent_can_be_reached_and_no_address_forged(host: Host) -> None:
    # The host reaches her, so the port is open.
    with socket.create_connection((host.ada, GATEWAY_PORT), 3):
        pass
    assert await host.tries("connect", f"{host.ada}:{GATEWAY_PORT}") == []
    assert await host.tries("forge") == []

    everybody = host.ada.rsplit(".", 1)[0] + ".255"
    groups = (host.ada, everybody, "10.255.255.255", "255.255.255.255", "224.0.0.251")
    await host.tries("datagrams", str(GATEWAY_PORT), *groups)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ours:
        ours.sendto(b"from the host", (host.ada, GATEWAY_PORT))
    heard = host.root / "ada" / "state" / "heard"
    await asyncio.to_thread(until_written, heard, "from the host")
    assert heard.read_text() == "from the host\n"


async def test_the_host_s_loopback_cannot_be_reached(host: Host) -> None:
    with socket.create_server(("127.0.0.1", 0)) as own:
        port = own.getsockname()[1]
        places = [f"{address}:{port}" for address in (host.bridge, "127.0.0.1", "127.0.0.2")]
        assert await host.tries("connect", *places) == []


async def test_private_networks_and_ports_of_the_host_are_shut_where_the_firewall_is(
    host: Host,
) -> None:
    nft = shutil.which("nft")
    tables = await asyncio.to_thread(
        subprocess.run, [nft, "list", "tables"], capture_output=True, text=True, check=False
    ) if nft else None  # fmt: skip
    if tables is None or "ocmt" not in tables.stdout:
        pytest.skip("no firewall of `ocmt setup` on this machine; its own tests show what it shuts")
    with socket.create_server((host.bridge, 0)) as other:
        places = [f"{host.bridge}:{other.getsockname()[1]}", "169.254.169.254:80"]
        assert await host.tries("connect", *places) == []


# Files and processes


async def test_nothing_of_the_host_or_of_another_is_written_or_read(host: Host) -> None:
    assert await host.tries("write") == []
    state = host.root / "ada" / "state"
    assert await host.tries("read", str(state), str(host.root), f"/proc/1/root{state}") == []
    # Backwards: what it is given stands in its own command line.
    words = [host.tokens[whose][::-1] for whose in ("ada", "ada-gateway")]
    assert await host.tries("others", *words) == []


async def test_breaking_out_gives_no_access_to_another_agent_s_memory_or_files(host: Host) -> None:
    """Run as a process of the host with the uid of the tenant's container."""
    (host.root / "ada" / "state" / "secret").write_text("hers")
    shown = await host.runtime.whereabouts("ada")
    assert shown is not None
    eve = host_account(1002)
    for path in (
        *(f"/proc/{pid}/environ" for pid in shown.pids()),
        f"/proc/{shown.leader.pid}/root",
        host.root / "ada" / "state" / "secret",
        host.root / "ada" / "state",
    ):
        read = await asyncio.to_thread(
            subprocess.run,
            ["/bin/cat", str(path)],
            user=eve.uid, group=eve.gid, extra_groups=[], capture_output=True, check=False,
        )  # fmt: skip
        assert (read.stdout, b"Permission denied" in read.stderr) == (b"", True), path


async def test_it_gets_no_device_no_right_and_no_engine(host: Host) -> None:
    assert await host.tries("devices") == []
    assert await host.tries("rights") == []


# Limits


async def test_a_fork_bomb_ends_at_its_own_limit(host: Host) -> None:
    async with host.holding("fork", str(LIMITS.pids)) as through:
        assert await works(host)
    assert through == []


async def test_all_inotify_instances_of_one_are_not_those_of_another(host: Host) -> None:
    async with host.holding("inotify") as through:
        assert await works(host)
    assert through == []


async def test_memory_and_swap_end_at_its_own_limit(host: Host, tmp_path: Path) -> None:
    most_mb = LIMITS.memory_and_swap_bytes // MB
    with some_swap(tmp_path):
        assert await host.tries("memory", str(most_mb + 64)) == []
        assert await host.tries("files_in_memory", "280") == []
        assert await works(host)


async def test_what_it_takes_of_the_disk_is_seen_and_has_it_stopped(host: Host) -> None:
    home = host.runtime.home("eve")
    async with host.holding("disk", "20", "500") as through:
        where = await host.runtime.whereabouts("eve")
        assert where is not None
        usage = await measure(home, where.pids())
        assert usage is not None
        assert usage.bytes >= 40 * MB
        assert usage.files >= 500
    assert through == []
    for limit in (DiskLimit(20 * MB, 10**6), DiskLimit(10**12, 250)):
        assert standing(usage, limit, host_is_short=False).fullness is Fullness.STOPPED


# Relay


async def test_the_relay_accepts_the_agent_s_token_for_its_paths_only(host: Host) -> None:
    place = (host.bridge, str(host.relay_port))
    guesses = ("null", "Bearer", "../", host.tokens["ada"][:-1])
    assert await host.tries("relay", *place, host.tokens["eve"], *guesses) == []


async def test_a_flood_of_headers_is_cut_off(host: Host) -> None:
    assert await host.tries("headers", host.bridge, str(host.relay_port), "64") == []


async def test_others_are_served_while_one_agent_holds_all_its_connections(host: Host) -> None:
    place = (host.bridge, str(host.relay_port))
    async with host.holding("hog", *place, str(2 * MOST_PER_ADDRESS)) as through:
        headers = {"Authorization": f"Bearer {host.tokens['ada']}"}
        url = f"http://{host.bridge}:{host.relay_port}/llm/v1/models"
        async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as answer:
            assert answer.status == 200
    assert through == []


# Terminal


async def test_escape_sequences_in_its_log_reach_no_terminal(
    host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    printed = await host.runtime.logs("eve", lines=100)
    assert "\x1b[2J" in printed  # what it printed is kept as it is
    await asyncio.to_thread(say, printed)
    shown = capsys.readouterr().out
    assert "52;c;" in shown
    assert not any(ord(char) < 32 and char != "\n" for char in shown)
    observed = await host.runtime.inspect("eve")
    assert how_it_ended(observed, printed=printed).isprintable()
