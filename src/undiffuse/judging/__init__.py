"""Judging a run or a set of samples, and the report about it."""
