"""`python -m ocmt_management` as the operator runs it: real processes, output, exit codes."""

import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
from ocmt_management.__main__ import main
from ocmt_testing.ports import free_ports


@pytest.fixture
def port() -> int:
    (chosen,) = free_ports()
    return chosen


@pytest.fixture
def env_file(tmp_path: Path, port: int) -> Path:
    file = tmp_path / "management.env"
    file.write_text(
        f"DATA_DIR={tmp_path}/data\n"
        f"JWT_SECRET={secrets.token_urlsafe(48)}\n"
        f"VAULT_KEY=k1:{b64encode(secrets.token_bytes(32)).decode()}\n"
        f"AGENT_AUTH_TOKEN={secrets.token_urlsafe(48)}\n"
        f"AGENT_SERVER_URL=http://127.0.0.1:1\n"
        f"PORT={port}\nBASE_URL=http://127.0.0.1:{port}\n"
    )
    return file


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-W", "ignore", "-m", "ocmt_management", *arguments]


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command(*arguments), capture_output=True, text=True, timeout=60, check=False
    )


@contextmanager
def serving(env_file: Path, port: int) -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen(
        command("--env-file", str(env_file)), stderr=subprocess.PIPE, text=True
    )
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                httpx2.get(f"http://127.0.0.1:{port}/health")
                break
            except httpx2.TransportError:
                assert process.poll() is None, process.communicate()[1]
                assert time.monotonic() < deadline, "the server did not start"
                time.sleep(0.05)
        yield process
    finally:
        process.kill()
        process.communicate()


def test_it_serves_signs_in_by_an_operator_link_and_stops_cleanly(
    env_file: Path, port: int, seen_secrets: set[str]
) -> None:
    with serving(env_file, port) as process:
        made = run("sign-in-link", "--env-file", str(env_file))
        found = re.fullmatch(rf"http://127\.0\.0\.1:{port}/sign-in#([\w-]{{43}})\n", made.stdout)
        assert found, made.stderr
        seen_secrets.add(found[1])

        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as browser:
            answer = browser.post("/api/auth/session", json={"token": found[1]})
            assert answer.json()["user"]["email"] == "admin@localhost"
            seen_secrets.update(browser.cookies.values())
            assert browser.get("/api/auth/sessions").status_code == 200
            assert "server" not in answer.headers

        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=60)

    assert process.returncode == 0
    assert not [secret for secret in seen_secrets if secret in log + made.stderr]
    assert "Traceback" not in log


def test_the_vaults_key_is_replaced_while_it_serves(
    env_file: Path, port: int, seen_secrets: set[str]
) -> None:
    before = env_file.read_text()
    (old,) = re.findall("VAULT_KEY=(.*)\n", before)

    def use(server: "subprocess.Popen[str]", keys: str, ids: list[str]) -> None:
        env_file.write_text(before.replace(old, keys))
        server.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + 60
        while True:
            shown = re.findall(
                r'ocmt_vault_key\{id="(\w+)"\}', httpx2.get(f"{url}/metrics", timeout=60).text
            )
            if shown == ids:
                return
            assert time.monotonic() < deadline, shown
            time.sleep(0.05)

    def secrets_of(browser: httpx2.Client) -> int:
        """Puts a secret, for which the data key is opened."""
        return browser.put("/api/secrets/FOO", json={"value": "a secret value"}).status_code

    url = f"http://127.0.0.1:{port}"
    with serving(env_file, port) as server, httpx2.Client(base_url=url, timeout=60) as browser:
        link = run("sign-in-link", "--env-file", str(env_file)).stdout
        token = link.rpartition("#")[2].strip()
        browser.post("/api/auth/session", json={"token": token})
        seen_secrets.update({token, *browser.cookies.values()})
        assert secrets_of(browser) == 200
        made = run("vault-key", "new", "--env-file", str(env_file))
        new = made.stdout.strip()
        assert re.fullmatch(r"k2:[A-Za-z0-9+/]{43}=", new), made.stderr
        seen_secrets.update({new.partition(":")[2], old.partition(":")[2]})

        use(server, f"{new},{old}", ["k2", "k1"])
        assert secrets_of(browser) == 200
        words = command("vault-key", "rewrap", "--env-file", str(env_file))
        both = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for _ in range(2)]
        said = [one.communicate(timeout=60)[0] for one in both]
        assert [one.returncode for one in both] == [0, 0], said
        assert any("1 of 1 encrypted with k2" in one for one in said)
        assert all("VAULT_KEY can be without k1" in one for one in said)

        use(server, new, ["k2"])
        assert secrets_of(browser) == 200
        env_file.write_text(before.replace(old, "k3:short"))
        server.send_signal(signal.SIGHUP)
        assert secrets_of(browser) == 200, "wrong settings change nothing"
        lacking = run("vault-key", "--env-file", str(env_file))
        assert lacking.returncode == 78
        env_file.write_text(before)
        lacking = run("vault-key", "--env-file", str(env_file))
        assert "k2: 1 encrypted with it, but VAULT_KEY LACKS IT" in lacking.stdout
        server.send_signal(signal.SIGTERM)
        _, log = server.communicate(timeout=60)
    assert "vault keys not read again" in log
    assert not [secret for secret in seen_secrets if secret in log]


def test_keys_may_be_replaced_while_it_starts(env_file: Path, port: int) -> None:
    process = subprocess.Popen(
        command("--env-file", str(env_file)), stderr=subprocess.PIPE, text=True
    )
    try:
        deadline = time.monotonic() + 60
        while process.poll() is None and not is_open(port):  # it listens before it handles signals
            assert time.monotonic() < deadline, "the server did not start"
            time.sleep(0.01)
        process.send_signal(signal.SIGHUP)
        assert httpx2.get(f"http://127.0.0.1:{port}/health", timeout=60).status_code == 200
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 0, log
    assert "vault keys read again" in log


def is_open(port: int) -> bool:
    with socket.socket() as caller:
        return caller.connect_ex(("127.0.0.1", port)) == 0


def test_a_taken_port_is_reported_with_exit_code_75(env_file: Path, port: int) -> None:
    with socket.create_server(("127.0.0.1", port)):
        ended = run("serve", "--env-file", str(env_file))

    assert ended.returncode == 75
    assert f"Port {port} on 127.0.0.1 is taken." in ended.stderr


def test_wrong_settings_are_exit_code_78_with_the_cure(env_file: Path) -> None:
    env_file.write_text(env_file.read_text() + "SMPT_HOST=mail\n")

    ended = run("--env-file", str(env_file))

    assert ended.returncode == 78
    assert "did you mean SMTP_HOST?" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_migrate_brings_the_database_up_to_date(env_file: Path, tmp_path: Path) -> None:
    ended = run("migrate", "--env-file", str(env_file))

    assert ended.returncode == 0
    assert (tmp_path / "data" / "management.db").exists()
    assert run("migrate", "--env-file", str(env_file)).returncode == 0


def test_a_database_that_is_away_is_exit_code_1_with_the_cure(env_file: Path) -> None:
    env_file.write_text(env_file.read_text() + "DATABASE_URL=postgresql://x@127.0.0.1:1/x\n")

    ended = run("--env-file", str(env_file))

    assert ended.returncode == 1
    assert "check that the database runs" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_link_for_a_stranger_is_made_and_for_nonsense_is_refused(env_file: Path) -> None:
    run("migrate", "--env-file", str(env_file))

    made = run("sign-in-link", "--email", "eve@example.com", "--env-file", str(env_file))
    nonsense = run("sign-in-link", "--email", "eve", "--env-file", str(env_file))

    assert made.returncode == 0
    assert "/sign-in#" in made.stdout
    assert nonsense.returncode == 2
    assert "is not an e-mail address" in nonsense.stderr


def test_the_audit_trail_is_printed_and_exported(env_file: Path) -> None:
    run("migrate", "--env-file", str(env_file))
    for email in ("ada@example.com", "eve@example.com"):
        run("sign-in-link", "--email", email, "--env-file", str(env_file))

    def audit(*words: str) -> "subprocess.CompletedProcess[str]":
        return run("audit", *words, "--env-file", str(env_file))

    text, exported = audit(), audit("--json")
    events = [json.loads(line) for line in exported.stdout.splitlines()]
    assert [(event["action"], event["userEmail"]) for event in events] == [
        ("user.created", "ada@example.com"),
        ("user.admin", "ada@example.com"),
        ("link.made", "ada@example.com"),
        ("user.created", "eve@example.com"),
        ("link.made", "eve@example.com"),
    ]
    assert len(text.stdout.splitlines()) == len(events)
    assert "link.made" in text.stdout
    eves = audit("--email", "eve@example.com", "--days", "1")
    assert len(eves.stdout.splitlines()) == 2
    refused = audit("--email", "bob@example.com")
    assert refused.returncode != 0
    assert "No user has the address bob@example.com." in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (("--email", "bob"), "is not an e-mail address"),
        (("--days", "0"), "is not a number of days"),
        (("--days", "-1"), "days"),
        (("--days", "x"), "is not a number of days"),
    ],
)
def test_whose_and_how_old_events_are_printed_is_checked(
    capsys: pytest.CaptureFixture[str], wrong: tuple[str, ...], said: str
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["audit", *wrong])
    assert said in capsys.readouterr().err


def test_the_environment_wins_over_the_file(env_file: Path, tmp_path: Path) -> None:
    ended = subprocess.run(
        command("migrate", "--env-file", str(env_file)),
        env=os.environ | {"DATA_DIR": str(tmp_path / "other")},
        check=False,
    )

    assert ended.returncode == 0
    assert (tmp_path / "other" / "management.db").exists()


def test_it_bounds_a_requests_head(env_file: Path, port: int) -> None:
    headers = {f"x{number}": "y" for number in range(101)}
    with serving(env_file, port):
        refused = httpx2.get(f"http://127.0.0.1:{port}/", headers=headers, timeout=60)

    assert (refused.status_code, refused.json()["code"]) == (431, "headers-too-large")
