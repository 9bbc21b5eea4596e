"""A run's tensors by name: weights, their average and the optimiser's moments, to and from a checkpoint."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from undiffuse.core.errors import Refused
from undiffuse.model.files import fit

WEIGHTS, AVERAGE, OPTIMISER = "weights.", "average.", "optimiser."
MOMENTS = ("step", "exp_avg", "exp_avg_sq")  # of AdamW


def tensors(
    module: nn.Module, averages: Mapping[str, nn.Module], optimiser: torch.optim.Optimizer
) -> dict[str, Tensor]:
    """Everything that a step changes: `weights.<name>`, `optimiser.<moment>.<name>`, and each average under its own
    prefix; the one that sampling uses is `average.<name>`.
    """
    held = {
        f"{prefix}{name}": value
        for prefix, each in {WEIGHTS: module, **averages}.items()
        for name, value in each.state_dict().items()
    }
    for name, parameter in module.named_parameters():
        held |= {f"{OPTIMISER}{moment}.{name}": value for moment, value in optimiser.state[parameter].items()}
    return held


def restore(
    held: Mapping[str, Tensor],
    module: nn.Module,
    averages: Mapping[str, nn.Module],
    optimiser: torch.optim.Optimizer,
    what: str,
) -> None:
    """Put them back, in place; raises Refused, naming the tensor, if one is missing, unknown or does not fit."""
    for prefix, target in {WEIGHTS: module, **averages}.items():
        own = {name.removeprefix(prefix): value for name, value in held.items() if name.startswith(prefix)}
        target.load_state_dict(fit(own, target.state_dict(), what))
    known = {f"{moment}.{name}" for name, _ in module.named_parameters() for moment in MOMENTS}
    stray = [n for n in held if not n.startswith((WEIGHTS, *averages)) and n.removeprefix(OPTIMISER) not in known]
    if stray:
        raise Refused(f"{what} holds {stray[0]!r}, which this run does not have")
    moments: dict[int, dict[str, Tensor]] = {}
    for i, (name, parameter) in enumerate(module.named_parameters()):
        own = {
            key.split(".")[1]: value
            for key, value in held.items()
            if key.startswith(OPTIMISER) and key.split(".", 2)[2:] == [name]
        }
        expected = {"step": torch.zeros(()), "exp_avg": parameter, "exp_avg_sq": parameter} if own else {}
        moments[i] = fit(own, expected, f"{what}, optimiser state of {name!r}")
    state = optimiser.state_dict()
    optimiser.load_state_dict({"state": {i: m for i, m in moments.items() if m}, "param_groups": state["param_groups"]})
