"""What happened to accounts and secrets, who did it and why."""
