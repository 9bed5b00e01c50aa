"""The page's first request: the signed-in user and their model."""
