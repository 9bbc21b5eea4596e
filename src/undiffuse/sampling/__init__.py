"""Sampling from a run: the request, the plan, and the samples that come back."""
