"""Recipes: every choice of a training run, and the components that its tables stand for."""
