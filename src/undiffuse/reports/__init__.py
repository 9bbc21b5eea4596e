"""Pages about runs: training, evaluation and comparison, each one HTML file that needs nothing else."""
