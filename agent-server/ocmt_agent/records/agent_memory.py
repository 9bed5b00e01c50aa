"""One agent's memory as last measured.

Needs the standard library only: a test measures with it on a bare kernel.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AgentMemory:
    """One agent's memory at one moment."""

    usage: int
    """All RAM it is charged with: anonymous, page cache, kernel."""
    anon: int
    """Its processes' own memory in RAM, which only swap can take."""
    cache: int
    """Pages of files in RAM; these can always be dropped."""
    swap: int
    """What left the RAM for swap, uncompressed."""
    compressed: int
    """The RAM which that still takes, compressed, in zram or zswap; zero with disk swap alone."""

    @property
    def held(self) -> int:
        """RAM that only swap can take, or that waits to be given back: all but the page cache."""
        return self.usage - self.cache

    @property
    def host(self) -> int:
        """What it really costs the host: RAM it is charged with and what is compressed in RAM."""
        return self.usage + self.compressed
