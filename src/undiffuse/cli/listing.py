"""`undiffuse list`: what there is to choose from."""

from typing import Annotated, Any

from typer import Argument, Option

from undiffuse.cli.terminal import console

FAMILIED = ("samplers", "guidance", "objectives", "networks")  # kinds whose components are for families of processes


def list_(
    kind: Annotated[
        str | None, Argument(metavar="[KIND]", help="recipes, samplers, schedules ... [default: all, by name]")
    ] = None,
    family: Annotated[
        str | None,
        Option(metavar="FAMILY", help="Samplers, guidance, objectives and networks for values, tokens or mixed data."),
    ] = None,
) -> None:
    """List recipes and components. With a kind: what each is, and what can be set."""
    from rich.markup import escape
    from rich.table import Table

    from undiffuse.core import registry
    from undiffuse.core.errors import unknown
    from undiffuse.recipes.bundled import names

    kinds = ["recipes", *registry.KINDS]
    if kind is not None and kind not in kinds:
        raise unknown("undiffuse list", kind, kinds)
    if family is not None:
        _refuse_family(kind, family)
    if kind is None:
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
        for each in kinds:
            listed = names() if each == "recipes" else [n + _whose(each, n) for n in registry.names(each)]
            table.add_row(f"[bold]{each}[/]", escape(", ".join(listed)))
        console().print(table)
        console().print("\n[dim]undiffuse list KIND says what they are and what can be set.[/]")
        return
    table = Table(box=None, show_header=False, padding=(0, 2, 1, 0))
    rows = _recipes() if kind == "recipes" else _components(kind, family)
    for name, about, fields in rows:
        table.add_row(f"[bold]{escape(name)}[/]", about + (f"\n[dim]{fields}[/]" if fields else ""))
    console().print(table)


def _refuse_family(kind: str | None, family: str) -> None:
    from undiffuse.core.errors import Refused
    from undiffuse.core.families import ANY

    if kind not in FAMILIED or family not in ANY:
        asked = "undiffuse list --family" if kind is None else f"undiffuse list {kind} --family"
        raise Refused(f"{asked} {family}: families are {', '.join(sorted(ANY))}, of {', '.join(FAMILIED)}")


def _recipes() -> list[tuple[str, str, str]]:
    from rich.markup import escape

    from undiffuse.recipes.recipe import Recipe, names

    return [(name, escape(Recipe.find(name).about), "") for name in names()]


def whole(text: str) -> str:
    """The lines of a docstring up to the first that ends a sentence, or a paragraph that ends one, as one line."""
    lines: list[str] = []
    for line in text.splitlines():
        lines.append(line.strip())
        if line.rstrip().endswith("."):
            break
    return " ".join(" ".join(lines).split())


def _whose(kind: str, name: str) -> str:
    """ " (mine.py)" behind the name of a person's own component, nothing behind others."""
    from undiffuse.core.plugins import plugins

    own = plugins(kind).get(name)
    return f" ({own.file.name})" if own else ""


def _components(kind: str, family: str | None = None) -> list[tuple[str, str, str]]:
    """(name, what it is in whole sentences, fields with their defaults) of each component, of those for a family."""
    import inspect

    from rich.markup import escape

    from undiffuse.core import registry

    found = []
    for name in registry.names(kind):
        component: Any = registry.get(kind, name)
        if family is not None and family not in component.families:
            continue
        about = whole(inspect.getdoc(component) or "")
        settings = [p for p in registry.fields(component).values() if p.name not in _from_data(component)]
        fields = [f"{p.name} = {p.default!r}" if p.default is not p.empty else p.name for p in settings]
        others = ", ".join(registry.aliases(kind, name))
        also = [f"also called {others}"] if others else []
        found.append(
            (name + _whose(kind, name), escape(about), escape("\n".join([*filter(None, [", ".join(fields)]), *also])))
        )
    return found


def _from_data(component: Any) -> set[str]:
    """The fields that data decide, and no recipe says."""
    import dataclasses

    own = dataclasses.fields(component) if dataclasses.is_dataclass(component) else ()
    return {each.name for each in own if each.metadata.get("from_data", False)}
