"""Getting the pinned OpenClaw: the npm package, and the container image made from it."""
