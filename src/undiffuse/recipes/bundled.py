"""The recipes that come with the program, by name."""

from pathlib import Path

BUNDLED = Path(__file__).parent


def names() -> list[str]:
    """The names of the recipes that come with the program."""
    return sorted(path.stem for path in BUNDLED.glob("*.toml"))
