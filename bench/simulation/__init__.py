"""Users' days played on many hosts by the policy that runs the real ones, without real agents.

The decisions are the agent server's own functions (`ocmt_agent.decisions`);
only what they decide about is simulated: people, jobs, memory, cores and disks.
"""
