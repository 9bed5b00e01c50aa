"""Three sshd as servers, and the load that must not notice a deploy."""
