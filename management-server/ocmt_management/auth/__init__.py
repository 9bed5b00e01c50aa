"""Who somebody is: sign-in by magic link, sessions, and the checks at the door."""
