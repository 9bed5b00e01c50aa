"""Replaces certificates and the token while the servers run, without losing requests.

The order ensures this: the agent server accepts the new token beside the old one before management
sends it, and rejects the old one only after it has received the new one.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from ocmt_common.host_credentials import TOKENS_FILE, token_id

from ocmt_cli.checkout import command
from ocmt_cli.deploy.inventory import HostEntry, Role
from ocmt_cli.failure import CommandFailed
from ocmt_cli.trust.folder import TrustFolder, new_token

WITHIN_S = 30.0
_LOOK_EVERY_S = 0.25


class LinkedServer(Protocol):
    """A server that connects to one on another host."""

    @property
    def entry(self) -> HostEntry: ...

    @property
    def role(self) -> Role: ...

    def put(self, files: Mapping[str, str]) -> None:
        """Write files into the server's TLS_DIR."""
        ...

    def health(self) -> dict[str, Any] | None:
        """The server's answer at `/health`; `None` if it is stopped.

        Raises `CommandFailed` if it runs but does not answer.
        """
        ...


def renew(
    trust: TrustFolder,
    servers: Sequence[LinkedServer],
    *,
    now: datetime,
    report: Callable[[str], None],
    within_s: float = WITHIN_S,
) -> TrustFolder:
    """Renew the certificates and the token of all `servers`. Returns the new folder.

    Resumes an interrupted renewal. Waits up to `within_s` seconds for each change to take effect.
    Raises `CommandFailed`; the next renewal resumes.
    """
    agents = [one for one in servers if one.role == "agent"]
    management = [one for one in servers if one.role == "mgmt"]
    for agent in agents:
        health = agent.health()
        if health is not None and health.get("tls") is None:
            raise CommandFailed(
                f"{agent.entry.name}: the running agent server does not use TLS_DIR yet. Follow "
                f"the remarks of `{command(f'setup {agent.entry.name}')}` about .env, then run "
                f"`{command('deploy')}`."
            )
    for entry in {one.entry.name: one.entry for one in servers}.values():
        trust = trust.with_certificate(entry, now, renewed=True)
    if len(trust.tokens) == 1:
        trust = trust.with_tokens(new_token(), *trust.tokens)
    trust = trust.saved()
    new = token_id(trust.tokens[0])

    for agent in agents:
        agent.put(trust.files(agent.entry, "agent"))
        report(f"{agent.entry.name}: agent server: new certificate, new token beside the old one")
        _wait(agent, lambda tls: new in tls["tokens"], "does not accept the new token", within_s)
    for one in management:
        one.put(trust.files(one.entry, "mgmt"))
        report(f"{one.entry.name}: management: new certificate, new token")
    for agent in agents:
        for one in management:
            if one.health() is not None:
                # Each health request makes management send a request to the agent server.
                _wait(
                    agent,
                    lambda tls: tls["tokenInUse"] == new,
                    f"was not sent the new token by management on {one.entry.name}",
                    within_s,
                    nudge=one.health,
                )
    trust = trust.with_tokens(trust.tokens[0])
    for agent in agents:
        agent.put({TOKENS_FILE: trust.files(agent.entry, "agent")[TOKENS_FILE]})
        _wait(agent, lambda tls: tls["tokens"] == [new], "still accepts the old token", within_s)
        report(f"{agent.entry.name}: agent server: the old token is no longer accepted")
    return trust.saved()


def _wait(
    agent: LinkedServer,
    done: Callable[[dict[str, Any]], bool],
    otherwise: str,
    within_s: float,
    nudge: Callable[[], object] = lambda: None,
) -> None:
    """Wait until `done`. Raises `CommandFailed` with `otherwise` after `within_s` seconds.

    Does not wait for a stopped server, which reads the files when it starts.
    """
    until = time.monotonic() + within_s
    while True:
        nudge()
        health = agent.health()
        if health is None:
            return
        tls = health.get("tls")
        if tls is not None and done(tls):
            return
        if time.monotonic() > until:
            raise CommandFailed(
                f"{agent.entry.name}: the agent server {otherwise} (waited {within_s:.0f} s). Both "
                f"tokens stay valid. See `{command('logs')}`, then run `{command('renew')}` again."
            )
        time.sleep(_LOOK_EVERY_S)
