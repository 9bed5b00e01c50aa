"""docs/sync.md is true: its commands are run in order, and its tables are complete.

The environment has only what the page presupposes: the checkout at `~/ocmt`, upstream's address,
and a network-free `npm`.
"""

import os
import re
import subprocess
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from ocmt_sync.commands import sync_app
from ocmt_sync.errors import Exit
from ocmt_sync.policy import default_policy_bytes
from ocmt_testing.sync.world import World
from typer.core import TyperGroup
from typer.main import get_command

CHECKOUT = Path(__file__).parents[3]
PAGE = (CHECKOUT / "docs" / "sync.md").read_text(encoding="utf-8")
UPSTREAM_URL = "https://github.com/openclaw/openclaw.git"
PORTS = "".join(f"port {n}\n" for n in range(30))


def sections() -> dict[str, list[str]]:
    """The commands of each section's `sh` blocks; the first section has the page's own title."""
    out: dict[str, list[str]] = {}
    for part in re.split(r"^##? ", PAGE, flags=re.MULTILINE)[1:]:
        title, _, body = part.partition("\n")
        blocks = re.findall(r"```sh\n(.*?)```", body, re.DOTALL)
        out[title] = [line for block in blocks for line in block.splitlines()]
    return {title: lines for title, lines in out.items() if lines}


def tree_for_the_default_policy() -> dict[str, str]:
    """A file for every glob of the shipped policy, like OpenClaw's own."""
    globs = [g for r in tomllib.loads(default_policy_bytes().decode())["rule"] for g in r["paths"]]
    names = [g + "some.ts" if g.endswith("/") else g.replace("*", "x") for g in globs]
    return dict.fromkeys(names, "upstream's\n") | {"src/infra/ports.ts": PORTS}


@dataclass(frozen=True)
class Walk:
    """Runs a line of the page in the fork, in the operator's shell."""

    world: World
    environment: dict[str, str]

    def __call__(self, line: str) -> str:
        code = int(found[1]) if (found := re.search(r"# exit (\d)", line)) else 0
        done = subprocess.run(
            ["bash", "-c", line], cwd=self.world.fork, env=self.environment,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == code, f"{line}\n{done.stdout}{done.stderr}"
        return done.stdout


@pytest.fixture
def walk(make_world_of: Callable[[Mapping[str, str]], World], tmp_path: Path) -> Walk:
    world = make_world_of(tree_for_the_default_policy())
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "npm").write_text("#!/bin/sh\nexit 0\n")
    (programs / "npm").chmod(0o755)
    home = tmp_path / "home"
    home.mkdir()
    (home / "ocmt").symlink_to(CHECKOUT)
    environment = {
        **world.variables(),
        "HOME": str(home),
        "PATH": f"{programs}:{os.environ['PATH']}",
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.{world.upstream.path}.insteadOf",
        "GIT_CONFIG_VALUE_0": UPSTREAM_URL,
    }
    return Walk(world, environment)


def test_the_pages_commands_work_in_its_order(walk: Walk) -> None:
    world = walk.world
    up = world.upstream
    said: dict[str, str] = {}

    def happens_upstream(section: str) -> None:
        if section == "A first sync":
            up.commit({"src/infra/some.ts": "better\n"}, "infra: better (#12)")
            up.commit({"docs/some.ts": "words\n"}, "docs: words")
            up.commit({"src/some.ts": "new\n"}, "a feature")
            up.commit({"src/gateway/some.ts": "safe\n"}, "gateway: fix an injection (#13)")
        elif section == "A conflict":
            world.local({"src/infra/ports.ts": PORTS.replace("port 7", "OUR PORT")})
            up.commit({"src/infra/ports.ts": PORTS.replace("port 7", "THEIR PORT")}, "ports")
        elif section == "A security-only sync":
            up.commit({"src/cli/some.ts": "quicker\n"}, "cli: quicker")
            up.commit({"ui/some.ts": "escaped\n"}, "ui: XSS in names")
        elif section == "A tag snapshot":
            tagged = up.commit({"extensions/some.ts": "released\n"}, "release")
            world.git("-C", str(up.path), "tag", "v2030.1.1", tagged)
            up.commit({"src/cli/some.ts": "quickest\n"}, "cli: quickest")
            walk("./ocmt sync fetch")

    for section, lines in sections().items():
        if section != "A first sync":
            happens_upstream(section)
        for line in lines:
            if line.startswith("./ocmt sync doctor"):
                said[section] = walk(line)
                happens_upstream("A first sync")
                walk("./ocmt sync fetch")
            else:
                said[section] = said.get(section, "") + walk(line)

    assert set(said) == {
        "Following upstream with `./ocmt sync`", "Setting up", "A first sync", "A conflict",
        "A security-only sync", "A tag snapshot", "Decisions",
    }  # fmt: skip
    assert said["Setting up"] == "All is well.\n"
    assert "1 about security" in said["A first sync"]
    assert "gateway: fix an injection" in said["A first sync"]
    assert "conflicts with our" in said["A conflict"]
    assert "THEIR PORT" in world.git("show", "main~0:src/infra/ports.ts") or (
        "THEIR PORT" in world.git("show", "upstream-sync:src/infra/ports.ts")
    )
    assert "ui: XSS in names" in said["A security-only sync"]
    assert world.git("show", "upstream-sync:extensions/some.ts") == "released"
    assert "deferred until 2999-01-31" in said["Decisions"]
    assert world.git("ls-remote", "origin", "main").split()[0] != ""


def test_the_page_names_every_command_exit_code_and_policy_key() -> None:
    group = get_command(sync_app)
    assert isinstance(group, TyperGroup)
    commands = set(group.commands)
    table = PAGE.split("## Every command")[1].split("## ")[0]
    assert set(re.findall(r"^\| `\./ocmt sync ([a-z]+)` \|", table, re.MULTILINE)) == commands
    codes = PAGE.split("## Exit codes")[1]
    listed = dict(re.findall(r"^\| (\d+) \| ([a-z]+) \|", codes, re.MULTILINE))
    assert listed == {str(int(code)): code.name.lower() for code in Exit}
    document = tomllib.loads(default_policy_bytes().decode())
    document.pop("version")
    document.pop("rule")
    keys = {f"{section}.{key}" for section, entries in document.items() for key in entries}
    policy = PAGE.split("## The policy")[1].split("## ")[0]
    assert {k for k in re.findall(r"`([a-z_]+\.[a-z_]+)`", policy) if k != "sync.toml"} == keys
