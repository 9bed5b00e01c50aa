"""The hosts and components of a command, and its host connections."""

import fnmatch
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ocmt_cli.deploy.host_connection import HostConnection
from ocmt_cli.deploy.host_failures import HostFailed
from ocmt_cli.deploy.inventory import ORDER, Inventory, Role
from ocmt_cli.deploy.remote import open_host
from ocmt_cli.failure import CommandFailed

Report = Callable[[str], None]
"""Called with a line for the operator."""


@dataclass(frozen=True, slots=True)
class Deployer:
    """The hosts and components of one command, such as a deploy. Makes the host connections."""

    inventory: Inventory
    roles: Sequence[Role]
    report: Report
    local: str | None = None
    """This machine's host (`--pull`), or `None` for all hosts over ssh."""
    limit: Sequence[str] = ()
    """Names or patterns of hosts (`--host`); empty for all."""

    def targets(self) -> list[tuple[Role, str]]:
        """(Component, host) pairs in the order of a deploy.

        Raises `CommandFailed` if there are none, or if the inventory lacks a host of `limit`.
        """
        found = [
            (role, host.name)
            for role in ORDER
            if role in self.roles
            for host in self.inventory.with_role(role)
            if self.local in (None, host.name) and self._is_meant(host.name)
        ]
        unknown = [one for one in self.limit if not fnmatch.filter(self.inventory.hosts, one)]
        if unknown:
            raise CommandFailed(
                f"{self.inventory.file} has no host {', '.join(unknown)}. It has: "
                f"{', '.join(self.inventory.hosts)}.",
                exit_code=2,
            )
        if not found and self.limit:
            raise CommandFailed(
                f"None of the hosts {', '.join(self.limit)} has the role "
                f"{' or '.join(self.roles)}.",
                exit_code=2,
            )
        if not found:
            raise CommandFailed(
                f"{self.inventory.file} has no host for {', '.join(self.roles)}. Add the role to a "
                "host's roles.",
                exit_code=2,
            )
        return found

    def _is_meant(self, host: str) -> bool:
        return not self.limit or any(fnmatch.fnmatchcase(host, one) for one in self.limit)

    def hosts_left_out(self, role: Role) -> list[str]:
        """The component's hosts that are not in `limit`."""
        hosts = [host.name for host in self.inventory.with_role(role)]
        return [host for host in hosts if not self._is_meant(host)]

    @contextmanager
    def connections(self) -> Iterator[dict[str, HostConnection]]:
        """Host → connection, for the hosts of all targets. Each connects at its first step."""
        made: dict[str, HostConnection] = {}
        try:
            for name in dict.fromkeys(name for _, name in self.targets()):
                entry = self.inventory.host(name)
                host = open_host(entry, self.inventory.deploy, local=self.local is not None)
                made[name] = HostConnection(host, entry, self.inventory)
            yield made
        finally:
            # In parallel, since each takes a round trip.
            with ThreadPoolExecutor(max(1, len(made))) as pool:
                list(pool.map(lambda connection: connection.close(), made.values()))

    def each(self, ask: Callable[[Role, str], Any]) -> dict[tuple[Role, str], Any]:
        """Call `ask` for all targets, hosts in parallel, and return the answers.

        `ask` may raise `HostFailed`. Raises `CommandFailed` with the failures of all hosts.
        """
        answers, failures = self.each_that_answers(ask)
        if failures:
            raise CommandFailed("\n".join(str(failure) for failure in failures.values()))
        return answers

    def each_that_answers(
        self, ask: Callable[[Role, str], Any]
    ) -> tuple[dict[tuple[Role, str], Any], dict[str, HostFailed]]:
        """Call `ask` for all targets, hosts in parallel.

        `ask` may raise `HostFailed`. Returns the answers, and host → failure; a host that failed
        has no answers.
        """
        by_host: dict[str, list[Role]] = {}
        for role, name in self.targets():
            by_host.setdefault(name, []).append(role)

        def one(name: str) -> list[tuple[tuple[Role, str], Any]]:
            return [((role, name), ask(role, name)) for role in by_host[name]]

        failures: dict[str, HostFailed] = {}
        answers: dict[tuple[Role, str], Any] = {}
        with ThreadPoolExecutor(len(by_host)) as pool:
            for name, future in [(name, pool.submit(one, name)) for name in by_host]:
                try:
                    answers.update(future.result())
                except HostFailed as failure:
                    failures[name] = failure
        return answers, failures
