"""How every command is read and interrupted: `--set a=1 b=2` means `--set a=1 --set b=2`."""

import shlex
import sys
from collections.abc import Iterable
from typing import Any

from typer import Exit
from typer.core import TyperCommand

TYPED = "undiffuse.typed"  # where a command finds the line that called it


class Command(TyperCommand):
    """A command whose `--set` takes any number of `field=value` at once, and that ends quietly on Ctrl-C."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        ctx.meta[TYPED] = shlex.join(["undiffuse", str(self.name), *args])
        return super().parse_args(ctx, list(spread(args)))

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            raise Exit(130) from None


def spread(words: Iterable[str]) -> Iterable[str]:
    """The words with `--set` put before each of the settings that follow one."""
    setting, previous = False, ""
    for word in words:
        follows = setting and "=" in word and not word.startswith("-")
        if follows and previous != "--set":
            yield "--set"
        setting = word == "--set" or follows
        previous = word
        yield word
