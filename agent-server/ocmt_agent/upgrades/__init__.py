"""What keeps agents' state usable when their host changes to another OpenClaw.

OpenClaw migrates its databases forward when it opens them, and an older one refuses the result or
misreads it (OpenClaw's `reference/database-schemas.md`). So state is copied before the first start
on a newer OpenClaw, an older one is never started on it, and the operator can go back to the copy.
"""
