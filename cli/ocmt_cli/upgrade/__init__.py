"""`ocmt upgrade`: compares the pinned OpenClaw with npm, and reverts agents after a rollback."""
