"""The agents' memory: measured, reclaimed while they sleep, prefetched when they wake."""
