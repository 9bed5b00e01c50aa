"""How much of the host's disk each agent takes, and what follows when it is too much."""
