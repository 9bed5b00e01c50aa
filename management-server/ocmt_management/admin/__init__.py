"""Running the place: users, invitations, suspension."""
