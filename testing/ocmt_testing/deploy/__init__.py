"""Hosts for tests of deploys, and load to run during a deploy."""
