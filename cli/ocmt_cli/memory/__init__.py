"""`ocmt memory`: swap on disk and compressed RAM, so that sleeping agents cost little memory."""
