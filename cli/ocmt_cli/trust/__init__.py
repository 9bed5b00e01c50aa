"""The installation's own CA: certificates and tokens between management and agent hosts."""
