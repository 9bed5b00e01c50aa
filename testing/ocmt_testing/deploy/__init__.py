"""Three sshd as servers, and load to run during a deploy."""
