"""The input of a simulation: habits, hosts, and an agent's costs. All times in seconds."""

from dataclasses import dataclass

from ocmt_agent.decisions.sleep_policy import Times


@dataclass(frozen=True, slots=True)
class Costs:
    """An agent's costs on a host, in bytes of host memory and in seconds.

    The defaults were measured with openclaw 2026.9.6 on 2 cores (docs/benchmarks.md).
    """

    awake: int = 778_000_000
    woken: int = 300_000_000
    asleep: int = 40_000_000
    thaw_s: float = 0.34
    boot_core_s: float = 9.0
    """7.4-11 s of one core until a gateway is ready."""
    page_in: int = 260_000_000
    """Bytes read from the disk between a thaw and the first reply."""
    disk_bytes_s: float = 500e6


@dataclass(frozen=True, slots=True)
class HostSize:
    ram: int
    swap: int
    cores: int

    @property
    def usable(self) -> int:
        """Bytes of RAM for agents, without the system's, Docker's and OCMT's own."""
        return int(self.ram * 0.95) - 700_000_000


@dataclass(frozen=True, slots=True)
class People:
    count: int
    present: float = 0.7
    """Share of the people present on a given day."""
    sessions: float = 3.0
    """Visits a day, on average."""
    turns: float = 6.0
    """Messages a visit, on average."""
    gap_s: float = 90.0
    """Seconds between an answer and the next message, on average."""
    turn_s: float = 20.0
    """Seconds that the agent works on a message, median."""
    with_job: float = 0.2
    """Share of the people with a daily scheduled job; half of the jobs are at 09:00."""
    job_s: float = 60.0
    office_size: int = 200
    """People per office, all on one host."""
    stormy: float = 0.1
    """Share of the offices where everyone present writes within two minutes of 09:00."""


@dataclass(frozen=True, slots=True)
class Scenario:
    people: People
    hosts: int
    host: HostSize
    costs: Costs
    times: Times
    wake_timeout_s: float
    days: int
    seed: int
