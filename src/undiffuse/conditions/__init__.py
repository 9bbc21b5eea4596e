"""Conditions, from data and from people to what a network takes."""
