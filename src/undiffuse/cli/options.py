"""Options that several commands have, declared once: those of sampling are made from the fields of a request."""

from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from functools import partial, wraps
from inspect import Parameter, Signature, signature
from typing import TYPE_CHECKING, Annotated, Any

from typer import Option

from undiffuse.core import registry
from undiffuse.core.errors import Refused
from undiffuse.sampling.option import options
from undiffuse.sampling.request import SEED, SampleRequest

if TYPE_CHECKING:
    from undiffuse.evaluation.judge import Judge

CONDITION = "condition"  # the option that says a condition by its name
Precision = Annotated[str, Option(help="auto, float32 or bfloat16.")]
Against = Annotated[
    str | None, Option(metavar="DATA", help="A folder, a file or a data component. [default: what the run held out]")
]
Moved = Annotated[
    str | None, Option("--data", metavar="DATA", help="Where the run's own data are now, if they have moved.")
]
Seed = Annotated[int, Option(min=0, max=SEED, help="Of the samples and of the metrics' draws.")]
Features = Annotated[
    str,
    Option(
        metavar="NAME",
        help="pixels, spectrogram, efficientnet-lite0, inception, inception:FILE, module:FILE:NAME, run:FOLDER.",
    ),
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


def sampling(
    without: tuple[str, ...] = (), help: Mapping[str, str] | None = None
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Gives a command the options of a request in place of its parameter `request`, or those of conditions alone in
    place of `conditions`, which becomes the (name or kind, word) of each.

    without: fields and conditions that it has no option for. help: what it says of some in words of its own.
    """

    def changed(command: Callable[..., None]) -> Callable[..., None]:
        own = signature(command, eval_str=True).parameters
        place, flags = ("request", _fields) if "request" in own else ("conditions", lambda help: {})
        annotated = {**flags(help or {}), **conditions(help)}
        added = [_parameter(name, each) for name, each in annotated.items() if name not in without]
        wanted = [p for each in own.values() for p in (added if each.name == place else [each])]

        @wraps(command)
        def call(**values: Any) -> None:
            asked = read({each.name: values.pop(each.name) for each in added})
            return command(**values, **{place: asked if place == "request" else asked.condition_words})

        made: Any = call
        made.__signature__ = signature(command).replace(parameters=wanted)
        made.__annotations__ = {each.name: each.annotation for each in wanted}
        return call

    return changed


def read(values: Mapping[str, Any]) -> SampleRequest:
    """The request in what was typed, by the names of fields and of kinds and conditions; raises Refused as
    `SampleRequest` does, and for a count and indices that contradict each other.
    """
    from undiffuse.conditions.given import pairs

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
    named = [(name, word) for name, word in typed.items() if name not in abouts and name != CONDITION]
    return SampleRequest(**given, condition_words=[*named, *pairs(typed.get(CONDITION, ()))])


def flag(name: str) -> str:
    """What a field is called on the command line."""
    about = options(SampleRequest).get(name)
    return about.flag.split("/")[0] if about and about.flag else f"--{name.replace('_', '-')}"


def conditions(help: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The annotations that typer makes options of conditions of, by name: every kind is one, but one that is called as
    a field of a request, and --condition.

    help: what a command says of some in words of its own.
    """
    about: dict[str, tuple[str | None, str]] = {}
    for kind in sorted({*registry.names("conditions")} - {*options(SampleRequest)}):
        own = partial(registry.constant, "conditions", kind)
        about[kind] = own("metavar"), own("help", f"A condition of kind {kind}.")
        about |= {
            name: (own("metavar"), f"The condition `{name}`, of kind {kind}.") for name in own("often_called", ())
        }
    found: dict[str, Any] = {
        name: Annotated[str | None, Option(flag(name), metavar=metavar, help=(help or {}).get(name, says))]
        for name, (metavar, says) in about.items()
    }
    says = "Any condition, by the name that `undiffuse show` says."
    return {**found, CONDITION: Annotated[list[str] | None, Option(f"--{CONDITION}", metavar="NAME=VALUE", help=says)]}


def signed(function: Callable[..., None], annotations: Mapping[str, Any]) -> Callable[..., None]:
    """The function, of which typer is told these keyword parameters; they are None where nothing is typed."""
    made: Any = function
    made.__signature__ = Signature([_parameter(name, each) for name, each in annotations.items()])
    made.__annotations__ = dict(annotations)
    return made


def _parameter(name: str, annotation: Any) -> Parameter:
    return Parameter(name, Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _fields(help: Mapping[str, str]) -> dict[str, Any]:
    """The annotations that typer makes options of a request's fields of, by name."""
    found: dict[str, Any] = {}
    for each in fields(SampleRequest):
        about = options(SampleRequest)[each.name]
        if not about.typed:
            continue
        says = help.get(each.name, about.help)
        if each.default not in (None, MISSING, ()) and "[default" not in says:
            says += f" [default: {each.default}]"
        how = {"help": says, "metavar": about.metavar, **({"min": 0, "max": about.most} if about.most else {})}
        declared = about.flag.split("/") if about.flag else [flag(each.name)]
        kind = list[str] if about.repeated else str if about.read else about.json
        found[each.name] = Annotated[kind | None, Option(*declared, **how)]
    return found


def judge(features: str, metrics: str | None, resize: int | None, cache: bool) -> "Judge":
    """How to judge, as it was typed; raises Refused for names that do not exist."""
    from undiffuse.evaluation.features.choice import choose
    from undiffuse.evaluation.judge import Judge
    from undiffuse.models.load import load
    from undiffuse.recipes.uses import Uses

    by = choose(features, Uses(load).of("features"))
    return Judge(by, tuple(name.strip() for name in (metrics or "").split(",") if name.strip()), resize, cache)
