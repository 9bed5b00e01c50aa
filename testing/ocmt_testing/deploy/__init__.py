"""Three sshd processes as hosts, and load to run during a deploy."""
