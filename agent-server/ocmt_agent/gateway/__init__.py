"""Speaking to a user's OpenClaw gateway as its paired device."""
