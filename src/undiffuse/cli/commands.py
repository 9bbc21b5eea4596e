"""How every command is read and interrupted: `--set a=1 b=2` means `--set a=1 --set b=2`; each takes `--use FILE`."""

import shlex
import sys
from collections.abc import Iterable
from typing import Any

from typer import Exit
from typer.core import TyperCommand

TYPED = "undiffuse.typed"  # where a command finds the line that called it
USED = "undiffuse.used"  # where it finds the files that --use named before the command
USE = "A Python file with components of your own, to use them by name. May be repeated."


class Command(TyperCommand):
    """A command whose `--set` takes any number of `field=value` at once, and that ends quietly on Ctrl-C."""

    def get_params(self, ctx: Any) -> list[Any]:
        """The command's options and `--use`, which stands before or behind a command's name."""
        before = ctx.parent.command.params if ctx.parent else []
        *own, asks_for_help = super().get_params(ctx)
        return [*own, *(option for option in before if option.name == "use"), asks_for_help]

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        before = [word for file in ctx.meta.get(USED, ()) for word in ("--use", file)]
        ctx.meta[TYPED] = shlex.join(["undiffuse", *before, str(self.name), *args])
        return super().parse_args(ctx, list(spread(args)))

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            raise Exit(130) from None


def use(ctx: Any, files: list[str] | None) -> list[str] | None:
    """Registers the components in the files that `--use` names."""
    if files:
        from undiffuse.core import plugins

        for file in files:
            plugins.use(file)
        ctx.meta[USED] = files
    return files


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
