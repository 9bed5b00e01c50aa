"""Serving the built page, and the headers that keep it safe."""
