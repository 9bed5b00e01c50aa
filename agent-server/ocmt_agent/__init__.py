"""The agent server: one OpenClaw per user, asleep when idle, awake on request."""
