"""Keeps agents' state usable when their host changes to another OpenClaw version.

OpenClaw migrates its databases forward when it opens them, and an older version refuses the result
or misreads it (OpenClaw's `reference/database-schemas.md`). So the state is copied before the first
start on a newer version, no older one is started on it, and an operator can revert to the copy.
"""
