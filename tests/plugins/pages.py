"""The files of the documentation's page on components of one's own, as they stand there."""

import re
from pathlib import Path

PAGE = (Path(__file__).parents[2] / "docs" / "extend.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"^```python title=\"([^\"]+)\"\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def write(folder: Path) -> list[str]:
    """Write each file into a folder of its own; returns `--use FILE` for each, as words of a command."""
    words: list[str] = []
    for name, text in FILES.items():
        place = folder / Path(name).stem
        place.mkdir(parents=True)
        (place / name).write_text(text, encoding="utf-8")
        words += ["--use", str(place / name)]
    return words
