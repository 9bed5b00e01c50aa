"""The first request of the page: the signed-in user and their model."""
