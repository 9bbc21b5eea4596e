"""Tables: files of rows, read cell by cell."""
