"""`ocmt bench`: runs a benchmark of the checkout."""
