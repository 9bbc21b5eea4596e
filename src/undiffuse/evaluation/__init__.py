"""How good a run or a set of samples is."""
