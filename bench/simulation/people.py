"""One person's days: when they write, how long the agent works, and their scheduled job."""

import math
from collections.abc import Iterator
from random import Random

from simulation.scenario import People

DAY_S = 86_400.0
NINE_S = 9 * 3600.0
_STORM_S = 120.0
# Relative number of visits that begin in each hour: office hours and evenings.
_BY_HOUR = (1, 1, 1, 1, 1, 2, 4, 8, 18, 24, 24, 20, 14, 20, 22, 20, 16, 12, 8, 7, 7, 6, 4, 2)
_HOURS = range(24)


def of(person: int, seed: int) -> Random:
    """The person's random generator, which depends only on the seed and the person."""
    return Random(f"{seed}:{person}")


def storms(person: int, people: People, seed: int) -> bool:
    """Whether everyone in the person's office writes at nine."""
    office = person // people.office_size
    return Random(f"{seed}:office:{office}").random() < people.stormy


def job_at(chance: Random, people: People) -> float | None:
    """The second of the day of the person's daily job; `None` if there is none."""
    if chance.random() >= people.with_job:
        return None
    if chance.random() < 0.5:
        return NINE_S
    return chance.randrange(24) * 3600.0 + chance.choice((0, 900, 1800, 2700))


def messages(
    chance: Random, people: People, *, days: int, stormy: bool
) -> Iterator[tuple[float, float]]:
    """`(second when written, seconds of its turn)` of each message, in order."""
    for day in range(days):
        starts = []
        if chance.random() < people.present:
            starts = sorted(_start(chance) for _ in range(_poisson(chance, people.sessions)))
            if stormy:
                starts = sorted([*starts, NINE_S + chance.random() * _STORM_S])
        written = day * DAY_S
        for start in starts:
            written = max(written, day * DAY_S + start)
            for _ in range(1 + _poisson(chance, people.turns - 1)):
                takes = people.turn_s * math.exp(chance.gauss(0, 0.8))
                yield written, takes
                written += takes + chance.expovariate(1 / people.gap_s)


def _start(chance: Random) -> float:
    return chance.choices(_HOURS, _BY_HOUR)[0] * 3600.0 + chance.random() * 3600.0


def _poisson(chance: Random, mean: float) -> int:
    """A Poisson-distributed number by Knuth's algorithm, which is fast for small means."""
    limit, product, count = math.exp(-mean), chance.random(), 0
    while product > limit:
        product *= chance.random()
        count += 1
    return count
