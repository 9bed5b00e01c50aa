"""Keeps agents' state usable when their host changes to another OpenClaw version.

OpenClaw migrates its databases when it opens them, and an older version then rejects or misreads
them (OpenClaw's `reference/database-schemas.md`). So the state is copied before a newer version
first starts on it, an older version is never started on it, and an operator can revert to the copy.
"""
