"""`ocmt memory`: swap on disk and compressed RAM for sleeping agents."""
