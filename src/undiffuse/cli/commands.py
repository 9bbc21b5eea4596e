"""How the command line is read: `--set a=1 b=2` means `--set a=1 --set b=2`."""

from collections.abc import Iterable
from typing import Any

from typer.core import TyperCommand


class Settable(TyperCommand):
    """A command whose `--set` takes any number of `field=value` at once."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, list(spread(args)))


def spread(words: Iterable[str]) -> Iterable[str]:
    """The words with `--set` put before each of the settings that follow one."""
    setting = False
    for word in words:
        follows = setting and "=" in word and not word.startswith("-")
        if follows and previous != "--set":
            yield "--set"
        setting = word == "--set" or follows
        previous = word
        yield word
