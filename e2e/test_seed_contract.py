"""The specification's curl lines, verbatim except for the address and the token."""

import json
import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from ocmt_testing.system.stack import Stack

AGENT_TOKEN = "contract-tests-agent-token-0123456789"


def curl(stack: Stack, line: str) -> Any:
    """Run the specification's line with the real address and token; returns its JSON answer."""
    command = line.replace("http://YOUR_AGENT_SERVER_IP:4000", stack.agent_url).replace(
        '"x-auth-token: ..."', f'"x-auth-token: {stack.auth_token}"'
    )
    done = subprocess.run(
        ["bash", "-c", command + " -sS --noproxy '*'"],
        capture_output=True,
        text=True,
        check=True,
        timeout=150,
    )
    return json.loads(done.stdout)


@pytest.fixture
def agent(stack: Stack) -> str:
    """An awake agent that only this module uses."""
    user = "seed-contract"
    made = stack.agent("POST", "/api/containers", json={"userId": user, "agentToken": AGENT_TOKEN})
    assert made.status_code in (200, 201), made.text
    stack.agent("POST", f"/api/containers/{user}/wake").raise_for_status()
    return user


def test_the_health_line_of_the_specification(stack: Stack, agent: str) -> None:
    health = curl(stack, "curl http://YOUR_AGENT_SERVER_IP:4000/health")

    assert health["status"] == "ok"
    assert health["containers"] >= 1
    assert {"running", "paused", "stopped"} <= set(health["hibernation"])


def test_the_list_line_of_the_specification(stack: Stack, agent: str) -> None:
    listed = curl(
        stack,
        'curl -H "x-auth-token: ..." http://YOUR_AGENT_SERVER_IP:4000/api/containers',
    )

    mine = next(c for c in listed if c["userId"] == agent)
    assert mine["hibernationState"] == "running"
    assert mine["idleMinutes"] == 0


def test_the_hibernate_and_wake_lines_of_the_specification(stack: Stack, agent: str) -> None:
    hibernate = (
        'curl -X POST -H "x-auth-token: ..." -H "Content-Type: application/json" '
        """-d '{"mode":"pause"}' """
        "http://YOUR_AGENT_SERVER_IP:4000/api/containers/:userId/hibernate"
    ).replace(":userId", agent)
    wake = (
        'curl -X POST -H "x-auth-token: ..." '
        "http://YOUR_AGENT_SERVER_IP:4000/api/containers/:userId/wake"
    ).replace(":userId", agent)

    stack.hibernate(agent, "pause")  # once the gateway agrees, the line itself succeeds
    assert curl(stack, hibernate)["hibernationState"] == "paused"
    assert curl(stack, wake)["hibernationState"] == "running"


@pytest.mark.parametrize("mode", ["pause", "stop"])
def test_twenty_simultaneous_requests_to_a_sleeping_agent_cause_one_wake(
    stack: Stack, agent: str, mode: str
) -> None:
    stack.hibernate(agent, mode)
    before = stack.events(agent)

    with ThreadPoolExecutor(20) as pool:
        answers = list(
            pool.map(
                lambda _: stack.agent("GET", f"/api/containers/{agent}/proxy/healthz"), range(20)
            )
        )

    assert [a.status_code for a in answers] == [200] * 20
    new = [event for event in stack.events(agent) if event not in before]
    assert [e["toState"] for e in new].count("running") == 1, new


def test_two_simultaneous_provisions_make_one_container(stack: Stack) -> None:
    body = {"userId": "twice-at-once", "agentToken": AGENT_TOKEN}
    with ThreadPoolExecutor(2) as pool:
        made = list(pool.map(lambda _: stack.agent("POST", "/api/containers", json=body), range(2)))

    assert sorted(m.status_code for m in made) == [200, 201], [m.text for m in made]
    assert len(stack.gateway_pids("twice-at-once")) == 1
    assert stack.agent("DELETE", "/api/containers/twice-at-once").status_code == 204
    assert stack.gateway_pids("twice-at-once") == []
