"""The file of a LoRA run: A and B of each layer, and which base they are for."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from undiffuse.core.errors import Refused
from undiffuse.networks.lora import A, B, LowRank
from undiffuse.sampling.run import LORA, MERGED, PROCESS
from undiffuse.storage.files import finite
from undiffuse.storage.tensor_file import Held


@dataclass(frozen=True, eq=False)
class LoRARun:
    """What a LoRA run has learned. base: the folder of its base; weights: the fingerprint of the base's weights."""

    base: str
    weights: str
    updates: Mapping[str, list[LowRank]]
    buffers: Mapping[str, Tensor] = field(default_factory=dict[str, Tensor])

    def refuse_other(self, weights: str, what: str) -> None:
        """Raises Refused unless a run with this fingerprint is the base."""
        if weights != self.weights:
            raise Refused(
                f"{what} has other weights ({weights}) than the base of this LoRA ({self.weights}, {self.base}): a "
                "LoRA goes with the run that it was trained on"
            )


def read(found: Held, what: str) -> LoRARun:
    """The LoRA in an open file of a run, see `Held`; raises Refused, by the name, for what is broken."""
    said: Any = found.about.get(LORA)
    fields = {"run": str, "weights": str, "rank": int, "alpha": float}
    wrong = [
        name for name, kind in fields.items() if not isinstance(said, dict) or not isinstance(said.get(name), kind)
    ]
    if wrong or not said["rank"] > 0:
        raise Refused(f"{what} is broken: its description lacks or spoils {LORA + '.' + (wrong or ['rank'])[0]!r}")
    scale = said["alpha"] / said["rank"]
    ends = {name: name.removesuffix(f".{A}.weight") for name in found if name.endswith(f".{A}.weight")}
    updates: dict[str, list[LowRank]] = {}
    for name, layer in ends.items():
        other = f"{layer}.{B}.weight"
        if other not in found:
            raise Refused(f"{what} is broken: it holds {name!r} without {other!r}")
        finite(pair := {name: found[name], other: found[other]}, what)
        updates[layer] = [LowRank(pair[name], pair[other], scale)]
    pairs = {*ends, *(f"{layer}.{B}.weight" for layer in updates)}
    buffers = {name: found[name] for name in found if name not in pairs and not name.startswith(PROCESS)}
    if not updates:
        raise Refused(f"{what} is broken: it says that it is a LoRA and holds no A and B")
    finite(buffers, what)
    return LoRARun(said["run"], said["weights"], updates, buffers)


def whole(about: Mapping[str, Any]) -> dict[str, Any]:
    """What the file says, as the run says it that base and LoRA are together."""
    said = {name: value for name, value in about.items() if name != LORA}
    recipe = dict(said.get("recipe", {}))
    tables = dict(recipe.get("tables", {}))
    if isinstance(init := tables.get("init"), dict):
        tables["init"] = {name: value for name, value in init.items() if name != LORA}
    return {**said, "recipe": {**recipe, "tables": tables}, MERGED: about[LORA]}
