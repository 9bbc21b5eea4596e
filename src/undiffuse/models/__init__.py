"""What a run folder holds, one file a kind of run."""
