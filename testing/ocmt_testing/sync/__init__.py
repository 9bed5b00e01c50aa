"""A fork and its upstream, for the tests of `ocmt sync`."""
