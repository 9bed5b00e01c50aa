"""Two hosts' certificates, and servers that use them."""
