"""The whole system, started with `./ocmt up`, and the page in a browser."""
