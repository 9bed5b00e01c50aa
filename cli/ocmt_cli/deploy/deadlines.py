"""The time limits of the steps on a host, after which the host counts as hanging."""

from ocmt_cli.deploy.inventory import Policy, Role

_LOGIN_S = 30.0
"""Seconds for ssh to connect and sign in and for the host's Python to start."""
_QUICK_S = 30.0
_COPY_S = 1800.0
_MIGRATION_S = 6 * 3600.0
"""A migration may rewrite large tables. It continues on the host if the command gives up."""
_GRACE_S = 60.0


def deadline_s(step: str, role: Role, policy: Policy) -> float:
    """The seconds within which a host must answer a step, including the connection's."""
    gate = policy.gate_timeout_s + _GRACE_S
    drain = policy.drain_s + _GRACE_S
    settle = drain + (_MIGRATION_S if role == "mgmt" else 0)
    switch = 2 * gate + drain
    long = {
        "install": _COPY_S,
        "migrate": _MIGRATION_S,
        "start": gate + drain,
        "switch": switch,
        "settle": settle,
        "finish_rollback": gate + drain + switch + settle,
        "converge": 2 * (gate + drain + switch) + settle,
        "halt": 4 * drain,
    }
    return _LOGIN_S + long.get(step, _QUICK_S)
