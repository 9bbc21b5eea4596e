"""The default plan: which sampler and which grid to take when nobody says."""
