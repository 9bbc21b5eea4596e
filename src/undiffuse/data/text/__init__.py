"""Text: files of passages."""
