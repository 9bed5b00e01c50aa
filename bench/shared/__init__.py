"""Shared by benchmarks: real agents and the machine's figures."""
