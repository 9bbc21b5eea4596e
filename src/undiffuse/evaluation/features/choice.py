"""Parses the name of features, such as `inception:weights.pth`: a name and, after a colon, its first field."""

from collections.abc import Mapping
from typing import Any

from undiffuse.core import registry
from undiffuse.core.registry import Runs
from undiffuse.evaluation.features.features import Features


def choose(typed: str | Features, runs: Runs | None = None) -> Features:
    """The features of `pixels`, `efficientnet-lite0`, `efficientnet-lite0:128`, `inception:weights.pth`,
    `module:file:attribute`, `run:FOLDER`; features themselves as they are. runs: opens a run, see `registry.build`.

    Raises Refused for an unknown name, with the nearest, and for a value that the features do not accept.
    """
    if isinstance(typed, Features):
        return typed
    name, _, value = typed.partition(":")
    fields = registry.fields(registry.get("features", name))
    table: Mapping[str, Any] = {"name": name} | ({next(iter(fields)): value} if value else {})
    return registry.build("features", table, runs=runs)
