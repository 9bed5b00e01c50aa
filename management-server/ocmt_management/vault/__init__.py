"""Users' secrets, encrypted with keys that are not in the database."""
