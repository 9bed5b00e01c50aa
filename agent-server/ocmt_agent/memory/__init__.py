"""The memory of agents: measured, given back while they sleep, fetched ahead when they wake."""
