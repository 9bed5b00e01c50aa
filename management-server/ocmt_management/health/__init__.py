"""Health checks of the server and its dependencies, with the cure for each failure."""
