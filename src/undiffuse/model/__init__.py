"""Recipes and models: what a run folder holds, and how it comes back from disk."""
