"""Users: sign-in by magic link, sessions, and the origin check."""
