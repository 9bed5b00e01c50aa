"""Users' agents: provisioned, watched and woken through the agent server, which runs them."""
