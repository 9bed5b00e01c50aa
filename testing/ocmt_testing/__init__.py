"""Test support: doubles, stand-ins for what is outside OCMT, and the machines deploys go to."""
