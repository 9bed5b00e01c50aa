"""Code that `ocmt setup` runs on a host, with only Python's standard library."""
