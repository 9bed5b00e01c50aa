"""The facts of a host on which nothing is set up yet."""

from ocmt_cli.setup.facts import HostFacts

FRESH_HOST = HostFacts(
    apt=True,
    systemd=True,
    packages=frozenset(),
    users=frozenset(),
    units=frozenset(),
    paths={},
    texts={},
    keys=frozenset(),
    memory_mb=8000,
    resolvers=(),
    swap=False,
    listening=(),
    time=1_796_000_000,
    ssh_port=None,
    firewall_loaded=False,
    stale_units=False,
)
