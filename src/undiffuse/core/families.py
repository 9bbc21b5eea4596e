"""What samplers, guidance and objectives are for: values, tokens, or parts of both; refused by name, here alone."""

from dataclasses import MISSING, fields
from typing import Any, Final

from undiffuse.core import registry
from undiffuse.core.errors import Refused
from undiffuse.core.process.process import Process

Names = frozenset[str]
VALUES: Final[Names] = frozenset({"values"})
TOKENS: Final[Names] = frozenset({"tokens"})
ANY: Final[Names] = frozenset({"values", "tokens", "mixed"})
KEEP: Final[Names] = frozenset({"keep"})  # what a process may have to offer
MASK: Final[Names] = frozenset({"mask"})
WORDS: Final = {
    "values": "values",
    "tokens": "tokens",
    "mixed": "values and tokens together",
    "keep": "a noise vector, and this process has matrices",
    "mask": "a noise that is a mask, and this noise is none",
}


def check(component: Any, process: Process) -> None:
    """Raises Refused, by name, for a sampler, guidance or objective that is not for this process, or that has one
    inside it.

    component: `takes()` are the families that it is for as it is set, and `needs` what a process of these must offer.
    """
    name, family = registry.name_of(component), process.family
    if family not in component.takes():
        what = " and ".join(WORDS[each] for each in sorted(component.takes()))
        name += _settings(component) if family in component.families else ""
        kind = f"{type(process).__name__} is a process of {WORDS[family]}"
        raise Refused(f"{name} is for {what}, and {kind}{_others(component, process)}")
    if component.needs and (lacking := component.needs - offers(process)):
        raise Refused(f"{name} needs {WORDS[min(lacking)]}{_others(component, process)}")
    if component.inner is not None:
        check(component.inner, process)


def offers(process: Process) -> Names:
    """What samplers and guidance may need of a process besides its family."""
    return Names((*(KEEP if process.keeps else ()), *(MASK if process.absorbing is not None else ())))


def _settings(component: Any) -> str:
    """The fields that are not the component's defaults: " with variance = 'beta'"."""
    plain = [f for f in fields(component) if f.default is not MISSING and getattr(component, f.name) != f.default]
    return " with " + ", ".join(f"{f.name} = {getattr(component, f.name)!r}" for f in plain)


def _others(component: Any, process: Process) -> str:
    """The components of the same kind that are for this process."""
    for kind in ("samplers", "guidance", "objectives"):
        known: dict[str, Any] = {name: registry.get(kind, name) for name in registry.names(kind)}
        if type(component) in known.values():
            able = [n for n, c in known.items() if process.family in c.families and c.needs <= offers(process)]
            return f"; {kind} for it: {', '.join(able)}"
    return ""
