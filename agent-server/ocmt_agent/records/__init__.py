"""What this server knows of each agent: in memory, in its database, and told to others."""
