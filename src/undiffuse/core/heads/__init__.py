"""What the output of a network means, one file a kind of data."""
