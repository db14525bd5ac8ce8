"""Legged robots: gaits, contact constraints, kinodynamic models."""
