"""`ocmt bench`: run a benchmark of the checkout."""
