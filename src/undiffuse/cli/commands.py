"""How every command is read and interrupted: `--set a=1 b=2` means `--set a=1 --set b=2`; each takes `--use FILE`."""

import os
import re
import shlex
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import pairwise, takewhile
from pathlib import Path
from typing import Any

from typer import Exit, Typer
from typer.core import TyperCommand
from typer.main import get_command

from undiffuse.cli import options
from undiffuse.core import plugins
from undiffuse.core.errors import Refused
from undiffuse.storage.strict_json import utf8

TYPED = "undiffuse.typed"  # where a command finds the line that called it
USED = "undiffuse.used"  # where it finds the files that --use named before the command
TEXTS = ("TEXT", "CLASS", "NAME=VALUE", "TABLE.FIELD=VALUE ...", "FIELD=VALUE ...")  # what may be empty, or says more
USE = "A Python file with components of your own, to use them by name. May be repeated."


class Command(TyperCommand):
    """A command whose `--set` takes any number of `field=value` at once, and that ends quietly on Ctrl-C."""

    def get_params(self, ctx: Any) -> list[Any]:
        """The command's options and `--use`, which stands before or behind a command's name."""
        before = ctx.find_root().command.params if ctx.parent else []
        *own, asks_for_help = super().get_params(ctx)
        used = [option for option in before if option.name == "use"]
        return [*own, *_shown(_own_kinds(own).values()), *used, asks_for_help]

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        before = [word for file in ctx.meta.get(USED, ()) for word in ("--use", file)]
        ctx.meta[TYPED] = shlex.join(["undiffuse", *before, str(self.name), *args])
        if foreign := next((word for word in args if not utf8(word)), None):
            raise Refused(f"{foreign!a} is no UTF-8: rename what it names, or set a locale of UTF-8, as LC_ALL=C.UTF-8")
        _use_named(args)
        words = conditions(map(home, args), _own_kinds(self.params))
        _refuse_fewer(self.params, args)
        rest = super().parse_args(ctx, list(spread(words)))
        if "" in args:
            _refuse_empty(self.params, ctx.params)
        return rest

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            raise Exit(130) from None


def use(ctx: Any, files: list[str] | None) -> list[str] | None:
    """Registers the components in the files that `--use` names."""
    if files:
        for file in files:
            plugins.use(file)
        ctx.meta[USED] = files
    return files


def _use_named(words: Sequence[str]) -> None:
    """Registers what `--use` names behind a command, before its options are known: a kind of condition brings one."""
    for word, after in pairwise([*words, ""]):
        file = after if word == "--use" else word.partition("--use=")[2]
        if file:
            plugins.use(file)


def _own_kinds(parameters: Collection[Any]) -> dict[str, str]:
    """--NAME -> NAME of each kind of condition in a file of a person's own, of a command that takes conditions."""
    names = {each.name for each in parameters}
    return {f"--{name}": name for name in plugins.plugins("conditions") if options.CONDITION in names - {name}}


def _shown(kinds: Collection[str]) -> list[Any]:
    """The options of these kinds of condition, for the help of a command."""
    if not kinds:
        return []
    command = Typer(add_completion=False)
    command.command()(options.signed(lambda: None, {name: options.conditions()[name] for name in kinds}))
    found = [each for each in get_command(command).params if each.name in kinds]
    for each in found:
        each.expose_value = False  # `conditions` reads them
    return found


def conditions(words: Iterable[str], kinds: Mapping[str, str]) -> Iterable[str]:
    """The words with `--condition KIND=VALUE` in place of `--KIND VALUE`, for these kinds."""
    rest = iter(words)
    for word in rest:
        name, equals, value = word.partition("=")
        if name in kinds:
            yield from (f"--{options.CONDITION}", f"{kinds[name]}={value if equals else next(rest, '')}")
        else:
            yield word


def home(word: str) -> str:
    """The word with the home folder for ~, where a shell leaves it: `--out=~/runs`, `data.path=~/photos`."""
    found = re.fullmatch(r"((?:--[\w-]+=|[\w.]+=)?)(~(?:/.*)?)", word, re.DOTALL)
    return found[1] + os.path.expanduser(found[2]) if found else word


def _refuse_empty(parameters: Iterable[Any], values: Mapping[str, Any]) -> None:
    """Raises Refused, by its name, for what is given as an empty word and is no text; a path is the folder "." then."""
    for each in parameters:
        value = values.get(each.name)
        several = value if isinstance(value, list | tuple) else [value]
        if each.metavar not in TEXTS and any(isinstance(v, Path | str) and str(v) in ("", ".") for v in several):
            name = each.metavar.strip("[]") if each.param_type_name == "argument" else each.opts[-1]
            raise Refused(f"{name} is empty: is a variable of the shell not set?")


def _refuse_fewer(parameters: Iterable[Any], words: Sequence[str]) -> None:
    """Raises Refused for an option of several values with fewer before the next option."""
    known = {name: each for each in parameters if each.param_type_name == "option" for name in each.opts}
    for place, word in enumerate(words):
        count = known[word].nargs if word in known else 1
        given = words[place + 1 : place + 1 + count] if count > 1 else ()
        own = list(takewhile(lambda value: value.partition("=")[0] not in known, given))
        if count > 1 and len(own) < count:
            raise Refused(f"{word} takes {count} values, {word} {known[word].metavar}, and is given {len(own)}")


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
