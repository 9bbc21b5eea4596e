"""The command `undiffuse`: thin, it parses, calls and prints."""
