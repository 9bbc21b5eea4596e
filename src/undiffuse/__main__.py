"""`python -m undiffuse` is the command `undiffuse`."""

from undiffuse.cli.main import main

if __name__ == "__main__":
    main()
