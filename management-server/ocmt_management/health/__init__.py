"""Health checks of the server and its dependencies."""
