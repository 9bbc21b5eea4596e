"""Dates as tables write them: counted from the start of 1970 in the unit that their format tells apart."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from polars import Series

UNITS = {"days": 86_400_000_000, "minutes": 60_000_000, "seconds": 1_000_000, "microseconds": 1}  # of dates


def spelled(count: "Series", form: str) -> "Series":
    """The texts of dates that are counted so."""
    import polars as pl

    if unit(form) == "days":
        return count.cast(pl.Int32).cast(pl.Date).dt.strftime(form)
    return (count * UNITS[unit(form)]).cast(pl.Datetime("us")).dt.strftime(form)


def unit(form: str) -> str:
    """What dates of this format are counted in."""
    finest = {"%.": "microseconds", "%f": "microseconds", "%S": "seconds", "%T": "seconds", "%s": "seconds",
              "%M": "minutes", "%H": "minutes", "%I": "minutes", "%R": "minutes"}  # fmt: skip
    return next((name for mark, name in finest.items() if mark in form), "days")
