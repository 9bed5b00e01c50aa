"""Test support: doubles of external systems, and machines for deploys."""
