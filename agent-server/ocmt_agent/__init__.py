"""The agent server: one OpenClaw a user, asleep when idle, awake on request."""
