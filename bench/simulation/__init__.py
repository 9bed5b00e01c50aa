"""Simulates users' days on many hosts with the agent server's own policy, without real agents.

The decisions are the agent server's own functions (`ocmt_agent.decisions`); people, jobs, memory,
cores and disks are simulated. `ocmt capacity simulate` runs it.
"""
