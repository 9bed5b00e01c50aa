"""One agent's memory as last measured.

Uses only the standard library, for a test that measures in a virtual machine without packages.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AgentMemory:
    """One agent's memory at one moment, in bytes."""

    usage: int
    """All RAM charged to it: anonymous, page cache, kernel."""
    anon: int
    """Its processes' anonymous memory in RAM, which can only be moved to swap."""
    cache: int
    """Page cache in RAM, which can always be dropped."""
    swap: int
    """Its memory in swap, uncompressed."""
    compressed: int
    """The RAM that its swap takes in zram or zswap, compressed; zero if swap is on disk only."""

    @property
    def held(self) -> int:
        """Its RAM without the page cache."""
        return self.usage - self.cache

    @property
    def host(self) -> int:
        """The host's RAM that it uses: what is charged to it, plus its compressed swap."""
        return self.usage + self.compressed
