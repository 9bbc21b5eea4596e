"""Sources of data, one a file: files, folders, tables and text of one's own, and built-in sets."""
