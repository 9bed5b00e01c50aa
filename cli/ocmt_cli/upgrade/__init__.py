"""`ocmt upgrade`: compare the pinned OpenClaw with npm, and revert agents after a rollback."""
