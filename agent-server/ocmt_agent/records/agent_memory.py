"""One agent's memory as last measured.

Standard library only: a test measures with it in a virtual machine without packages.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AgentMemory:
    """One agent's memory at one moment, in bytes."""

    usage: int
    """All RAM charged to it: anonymous, page cache, kernel."""
    anon: int
    """Its processes' anonymous memory in RAM, which can only go to swap."""
    cache: int
    """Page cache in RAM, which can always be dropped."""
    swap: int
    """What it has in swap, uncompressed."""
    compressed: int
    """The RAM that its swap takes in zram or zswap, compressed; zero with swap on disk only."""

    @property
    def held(self) -> int:
        """Its RAM without the page cache: what only swap can take."""
        return self.usage - self.cache

    @property
    def host(self) -> int:
        """The RAM it costs the host: what is charged to it, and what is compressed in RAM."""
        return self.usage + self.compressed
