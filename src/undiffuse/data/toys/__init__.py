"""Toy data, one set a file: points in the plane, a census, heartbeats."""
