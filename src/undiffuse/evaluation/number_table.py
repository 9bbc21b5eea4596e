"""Tables of numbers as a terminal shows them."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table


def number_table(heads: Iterable[str], left: int = 1) -> "Table":
    """A table of rich without rows and frame; the first columns, so many, are words, the others numbers."""
    from rich.table import Table  # takes long to import

    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim")
    for i, head in enumerate(heads):
        table.add_column(head, justify="left" if i < left else "right")
    return table
