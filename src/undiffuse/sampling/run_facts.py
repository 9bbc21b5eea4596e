"""What a person wants to see of a run first: in a line, or as a table in a notebook."""

from html import escape
from typing import Any

from undiffuse.sampling.samples import kind, size

NAMES = 20  # classes that are named in a notebook


def of(run: Any) -> dict[str, str]:
    """The data, samples, classes, parameters, steps, recipe and device of a run, each in words."""
    name = run.facts.get("data", {}).get("name", run.recipe.name)
    what = kind(run, len(run.data_shape))
    classes = {"classes": f"{len(run.classes)} classes"} if run.classes else {}
    steps = {"steps": f"{run.facts['step']:,} steps"} if "step" in run.facts else {}
    return {
        "data": f"{name}",
        "samples": f"{what} of {size(what, run.data_shape)}",
        **classes,
        "parameters": f"{run.parameters:,} parameters",
        **steps,
        "recipe": f"recipe {run.recipe.name}",
        "device": f"on {run.device}",
    }


def html(run: Any) -> str:
    """The same as a table of HTML, with the conditions and the names of the classes."""
    conditions = {f"condition {name}": condition.kind for name, condition in run.conditions.items()}
    listed = {"class names": ", ".join(run.classes[:NAMES]) + " ..." * (len(run.classes) > NAMES)}
    rows = of(run) | (listed if run.classes else {}) | conditions
    return (
        "<table>" + "".join(f"<tr><th>{escape(k)}</th><td>{escape(v)}</td></tr>" for k, v in rows.items()) + "</table>"
    )
