"""What a deploy costs, compared with the specification's way (rsync, then restart).

Three sshd on loopback, the real servers and real rsync, under constant load: requests on old and
new connections, and four chat sockets to an agent (the gateway's double). Measures a no-op deploy
to three hosts, one-line changes of both servers, and rollbacks. For comparison: `rsync --delete` of
management's sources and a restart by ssh, like the specification's `scripts/deploy.sh`, under the
same load. Run: `python bench/deploy.py --json`.
"""

import argparse
import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx2
from ocmt_cli.checkout import ROOT
from ocmt_cli.deploy.inventory import Role
from ocmt_cli.deploy.orchestration import deploy
from ocmt_cli.deploy.source import read_source
from ocmt_testing.deploy.farm import (
    AUTH_TOKEN,
    BUILDS,
    MGMT_ENV,
    VAULT_KEY,
    Farm,
    deployer,
    farm,
    roll_back,
)
from ocmt_testing.deploy.load import Chats, Load, Person, until
from ocmt_testing.ports import free_ports

CHANGED = {
    "mgmt": "management-server/ocmt_management/__init__.py",
    "agent": "agent-server/ocmt_agent/__init__.py",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument(
        "--rounds", type=int, default=3, help="number of one-line changes; default 3"
    )
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, farm() as made:
        checkout = _clone(Path(folder) / "ocmt")
        found = {"ours": _ours(made, checkout, chosen.rounds)}
        found["rsync_restart"] = _peer(made, checkout, chosen.rounds)
    if chosen.json:
        print(json.dumps(found, indent=2))
        return
    for name, figures in found.items():
        print(name)
        for figure, value in figures.items():
            print(f"  {figure:<32} {value}")


def _clone(checkout: Path) -> Path:
    subprocess.run(["git", "clone", "--quiet", "--shared", ROOT, checkout], check=True)
    subprocess.run(["git", "-C", checkout, "remote", "remove", "origin"], check=True)
    modules = ROOT / "user-ui" / "node_modules"
    if modules.is_dir():
        (checkout / "user-ui" / "node_modules").symlink_to(modules)
    return checkout


def _change(checkout: Path, number: int, role: str) -> None:
    file = checkout / CHANGED[role]
    file.write_text(f'"""Change {number}."""\n')
    who = ["-c", "user.name=Bench", "-c", "user.email=bench@example.org"]
    words = ["commit", "--quiet", "--all", "--message", "A change"]
    subprocess.run(["git", "-C", checkout, *who, *words], check=True)


def _ours(made: Farm, checkout: Path, rounds: int) -> dict[str, Any]:
    started = time.monotonic()
    deploy(deployer(made), read_source(checkout), builds=BUILDS)
    first_s = time.monotonic() - started
    noops = []
    for _ in range(5):
        started = time.monotonic()
        steps = deploy(deployer(made), read_source(checkout), builds=BUILDS)
        noops.append(time.monotonic() - started)
        if any(step.action != "unchanged" for step in steps):
            raise SystemExit(f"not a no-op: {steps}")
    person = Person(made)
    _answered(person)
    changes: dict[Role, list[float]] = {"mgmt": [], "agent": []}
    back: dict[str, float] = {}
    with Load(*made.urls) as load, Chats(person) as chats:
        for role, seconds in changes.items():
            for number in range(rounds):
                _change(checkout, number, role)
                started = time.monotonic()
                deploy(deployer(made, role), read_source(checkout), builds=BUILDS)
                seconds.append(time.monotonic() - started)
            started = time.monotonic()
            roll_back(made, role)
            back[role] = time.monotonic() - started
    return {
        "first_deploy_three_hosts_s": round(first_s, 2),
        "noop_three_hosts_s_median": round(statistics.median(noops), 2),
        "noop_three_hosts_s_worst": round(max(noops), 2),
        "one_line_change_management_s_median": round(statistics.median(changes["mgmt"]), 2),
        "one_line_change_agent_server_s_median": round(statistics.median(changes["agent"]), 2),
        "rollback_management_s": round(back["mgmt"], 2),
        "rollback_agent_server_s": round(back["agent"], 2),
        **_loads(load, chats),
    }


def _answered(person: Person) -> None:
    with Chats(person, 1) as chats:
        until(lambda: chats.turns > 0, within_s=120)


def _loads(load: Load, chats: Chats) -> dict[str, Any]:
    cut = [one for one in chats.failures if one.startswith("cut")]
    return {
        "requests": load.count + len(load.failures),
        "failed_requests": len(load.failures),
        "slowest_request_s": round(load.slowest_s, 2),
        "chat_turns": chats.turns,
        "chat_turns_or_connects_failed": len(chats.failures) - len(cut),
        "sockets_told_to_reconnect": chats.restarts,
        "sockets_cut": len(cut),
        "slowest_chat_turn_s": round(chats.slowest_s, 2),
    }


def _peer(made: Farm, checkout: Path, rounds: int) -> dict[str, Any]:
    """Measure the specification's script, which copies over the running files and restarts."""
    machine = made.machines["mgmt"]
    (port,) = free_ports(1)
    place = machine.root / "peer"
    env_file = made.folder / "peer.env"
    env_file.write_text(
        MGMT_ENV.format(
            data=made.folder / "peer-data", token=AUTH_TOKEN, port=port, vault_key=VAULT_KEY,
            agent_port=made.agent_port, ui=made.component("ui") / "current",
        ) + f"PORT={port}\n"
    )  # fmt: skip
    ssh = [
        "ssh", "-p", str(machine.port), "-i", str(made.folder / "client"), "-o", "BatchMode=yes",
        "-o", f"UserKnownHostsFile={made.folder / 'known_hosts'}",
    ]  # fmt: skip
    pid, log = made.folder / "peer.pid", made.folder / "peer.log"
    paths = f"{place}/common:{place}/management-server"
    serve = f"{sys.executable} -m ocmt_management --env-file {env_file}"
    restart = (
        f"if [ -f {pid} ]; then kill $(cat {pid}); while kill -0 $(cat {pid}) 2>/dev/null; "
        f"do sleep 0.05; done; fi; PYTHONPATH={paths} setsid {serve} >{log} 2>&1 </dev/null & "
        f"echo $! >{pid}"
    )

    def run() -> None:
        for package in ("common", "management-server"):
            subprocess.run(
                ["rsync", "-az", "--delete", "--mkpath", "-e", shlex.join(ssh),
                 f"{checkout / package}/", f"127.0.0.1:{place / package}/"],
                check=True,
            )  # fmt: skip
        subprocess.run([*ssh, "127.0.0.1", restart], check=True)

    url = f"http://127.0.0.1:{port}/health"
    run()
    _wait(url)
    changes = []
    try:
        person = Person(made, port=port, python=Path(sys.executable), env_file=env_file)
        _answered(person)
        with Load(url) as load, Chats(person) as chats:
            for number in range(rounds):
                _change(checkout, 100 + number, "mgmt")
                started = time.monotonic()
                run()
                _wait(url)
                changes.append(time.monotonic() - started)
    finally:
        os.kill(int(pid.read_text()), 15)
    return {
        "one_line_change_management_s_median": round(statistics.median(changes), 2),
        **_loads(load, chats),
    }


def _wait(url: str) -> None:
    until = time.monotonic() + 120
    while time.monotonic() < until:
        try:
            if httpx2.get(url, timeout=5, trust_env=False).status_code == 200:
                return
        except httpx2.HTTPError:
            time.sleep(0.05)
    raise SystemExit(f"{url} did not answer within 120 s")


if __name__ == "__main__":
    main()
