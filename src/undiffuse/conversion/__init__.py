"""What other libraries write, as runs, and runs as what they read: one file of `pipelines` a pipeline."""
