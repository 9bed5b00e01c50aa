"""Hosts' certificates, and servers that use them."""
