"""Reverts agents to the copy of their state from before a newer OpenClaw used it."""

from urllib.parse import quote

from ocmt_common.console import complain, say

from ocmt_cli.checkout import command
from ocmt_cli.failure import CommandFailed
from ocmt_cli.up.data_folder import DataFolder
from ocmt_cli.up.health import Answer, get, post
from ocmt_cli.up.run_state import read_record
from ocmt_cli.up.servers import agent_port

_NOT_NEEDED = "nothing-to-revert-to"
_TIMEOUT_S = 120
"""Seconds for one agent's revert; stopping the agent may take half of them."""


def revert_agents(data: DataFolder, users: list[str] | None) -> bool:
    """Revert the agents of `users`, or all that need it. Returns whether all succeeded.

    Raises `CommandFailed` if OCMT is not running or does not list its agents.
    """
    record = read_record(data.root)
    if record is None or not record.is_alive():
        start = command("up", data=data.root)
        raise CommandFailed(
            f"OCMT is not running on {data.root}. Start it first: {start}. For a server of the "
            'inventory, see "Another OpenClaw" in docs/operations.md.'
        )
    api = f"http://127.0.0.1:{agent_port(record.port)}/api/containers"
    headers = {"x-auth-token": data.auth_token}
    chosen = _all_users(get(api, headers)) if users is None else users
    well, done = True, 0
    for user in chosen:
        answer = post(f"{api}/{quote(user, safe='')}/revert", headers, timeout_s=_TIMEOUT_S)
        if answer.status == 200:
            say(f"{user}: reverted; the next message starts the agent")
            done += 1
        elif users is not None or answer.body.get("code") != _NOT_NEEDED:
            complain(f"{user}: {_reason(answer)}")
            well = False
    if well and not done:
        say("No agent needs to be reverted.")
    return well


def _all_users(answer: Answer) -> list[str]:
    if answer.status != 200:
        raise CommandFailed(f"The agents cannot be listed: {_reason(answer)}")
    return [str(agent["userId"]) for agent in answer.body]


def _reason(answer: Answer) -> str:
    if answer.status == 0:
        return f"the agent server does not answer; see `{command('status')}`."
    return str(answer.body.get("detail") or f"the agent server answered {answer.status}.")
