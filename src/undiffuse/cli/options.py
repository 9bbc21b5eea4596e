"""Options that several commands have, declared once: those of sampling are made from the fields of a request."""

from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from functools import wraps
from inspect import Parameter, signature
from typing import TYPE_CHECKING, Annotated, Any

from typer import Option

from undiffuse.core.errors import Refused
from undiffuse.sampling.option import options
from undiffuse.sampling.request import SEED, SampleRequest

if TYPE_CHECKING:
    from undiffuse.evaluation.judge import Judge

Label = Annotated[str | None, Option(help="A class, by number or name. [default: the classes in turn]")]
Text = Annotated[str | None, Option(help="A caption, of a model that takes texts.")]
Picture = Annotated[
    str | None, Option("--image", metavar="FILE", help="An image beside the sample, such as a small one.")
]
Map = Annotated[str | None, Option("--map", metavar="FILE", help="An image beside the sample, of the condition `map`.")]
Vector = Annotated[str | None, Option(metavar="A,B,C", help="Numbers, of a model that takes some.")]
Condition = Annotated[
    list[str] | None, Option(metavar="NAME=VALUE", help="Any condition, by the name that `undiffuse show` says.")
]
Precision = Annotated[str, Option(help="auto, float32 or bfloat16.")]
Against = Annotated[
    str | None, Option(metavar="DATA", help="A folder, a file or a data component. [default: what the run held out]")
]
Moved = Annotated[
    str | None, Option("--data", metavar="DATA", help="Where the run's own data are now, if they have moved.")
]
Count = Annotated[int | None, Option("-n", "--count", help="How many to draw. [default: 1000; 200 texts]")]
Seed = Annotated[int, Option(min=0, max=SEED, help="Of the samples and of the metrics' draws.")]
Features = Annotated[
    str,
    Option(metavar="NAME", help="pixels, efficientnet-lite0, inception, inception:FILE or module:package.file:name."),
]
Metrics = Annotated[
    str | None,
    Option(metavar="A,B,C", help="Some of `undiffuse list metrics`, and nll of a run. [default: all that apply]"),
]
Resize = Annotated[int | None, Option(metavar="N", help="Bring samples and data to N x N pixels before.")]
Cached = Annotated[bool, Option("--cache/--no-cache", help="Keep what is costly about the data for the next time.")]
FirstAgainst = Annotated[
    str | None,
    Option(
        "--against", metavar="DATA", help="A folder, a file or a data component. [default: what the first held out]"
    ),
]
CONDITIONS = {"label": Label, "text": Text, "image": Picture, "map": Map, "vector": Vector, "condition": Condition}


def sampling(
    without: tuple[str, ...] = (), help: Mapping[str, str] | None = None
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Gives a command the options of a request in place of its parameter `request`.

    without: fields and conditions that it has no option for. help: what it says of some in words of its own.
    """

    def changed(command: Callable[..., None]) -> Callable[..., None]:
        flags = _flags(without, help or {})
        own = signature(command, eval_str=True).parameters.values()
        wanted = [p for each in own for p in (flags.values() if each.name == "request" else [each])]

        @wraps(command)
        def call(**values: Any) -> None:
            return command(request=read({name: values.pop(name) for name in flags}), **values)

        made: Any = call
        made.__signature__ = signature(command).replace(parameters=wanted)
        made.__annotations__ = {each.name: each.annotation for each in wanted}
        return call

    return changed


def read(values: Mapping[str, Any]) -> SampleRequest:
    """The request in what was typed, by the names of fields and of conditions; raises Refused as `SampleRequest` does,
    and for a count and indices that contradict each other.
    """
    abouts, given = options(SampleRequest), {}
    typed = {name: value for name, value in values.items() if value not in (None, [])}
    for name, value in typed.items():
        if name in abouts:
            reading = abouts[name].read
            given[name] = reading(value) if reading else value
    if "classifier" in given:
        from undiffuse.models.load import load

        given["classifier"] = load(given["classifier"])
    n, which = given.get("n"), given.get("indices")
    if n is not None and which is not None and n != len(which):
        raise Refused(
            f"-n {n} and --indices {values['indices']} contradict each other: those are {len(which)}; leave -n out"
        )
    named = {name: typed[name] for name in CONDITIONS if name in typed and name != "condition"}
    return SampleRequest(**given, condition_words=conditions(typed.get("condition"), **named))


def conditions(condition: list[str] | None, **named: str | None) -> list[tuple[str, str]]:
    """(name or kind, word) of every condition that was typed, by its own option or by --condition."""
    from undiffuse.conditions.given import pairs

    return [*((name, word) for name, word in named.items() if word is not None), *pairs(condition or ())]


def flag(name: str) -> str:
    """What a field is called on the command line."""
    about = options(SampleRequest).get(name)
    return about.flag.split("/")[0] if about and about.flag else f"--{name.replace('_', '-')}"


def _flags(without: tuple[str, ...], help: Mapping[str, str]) -> dict[str, Parameter]:
    """The parameters of a command that typer makes options of, by name; None where nothing is typed."""
    found: dict[str, Any] = {}
    for each in fields(SampleRequest):
        about = options(SampleRequest)[each.name]
        if not about.typed or each.name in without:
            continue
        says = help.get(each.name, about.help)
        if each.default not in (None, MISSING, ()) and "[default" not in says:
            says += f" [default: {each.default}]"
        how = {"help": says, "metavar": about.metavar, **({"min": 0, "max": about.most} if about.most else {})}
        declared = about.flag.split("/") if about.flag else [flag(each.name)]
        kind = list[str] if about.repeated else str if about.read else about.json
        found[each.name] = Annotated[kind | None, Option(*declared, **how)]
    found |= {name: annotation for name, annotation in CONDITIONS.items() if name not in without}
    return {
        name: Parameter(name, Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        for name, annotation in found.items()
    }


def judge(features: str, metrics: str | None, resize: int | None, cache: bool) -> "Judge":
    """How to judge, as it was typed; raises Refused for names that do not exist."""
    from undiffuse.evaluation.judge import Judge

    return Judge(features, tuple(name.strip() for name in (metrics or "").split(",") if name.strip()), resize, cache)
