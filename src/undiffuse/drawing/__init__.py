"""Drawing from a run: samples, what they cost, and the files they become."""
