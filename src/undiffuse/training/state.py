"""A run's tensors by name: weights, their average and the optimiser's moments, to and from a checkpoint."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from undiffuse.model.files import fit

WEIGHTS, AVERAGE, OPTIMISER = "weights.", "average.", "optimiser."


def tensors(module: nn.Module, average: nn.Module, optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Everything that a step changes, as `weights.<name>`, `average.<name>` and `optimiser.<moment>.<name>`."""
    held = {f"{WEIGHTS}{name}": value for name, value in module.state_dict().items()}
    held |= {f"{AVERAGE}{name}": value for name, value in average.state_dict().items()}
    for name, parameter in module.named_parameters():
        held |= {f"{OPTIMISER}{moment}.{name}": value for moment, value in optimiser.state[parameter].items()}
    return held


def restore(
    held: Mapping[str, Tensor], module: nn.Module, average: nn.Module, optimiser: torch.optim.Optimizer, what: str
) -> None:
    """Put them back, in place; raises Refused, naming the tensor, if one is missing, unknown or does not fit."""
    for target, prefix in ((module, WEIGHTS), (average, AVERAGE)):
        own = {name.removeprefix(prefix): value for name, value in held.items() if name.startswith(prefix)}
        target.load_state_dict(fit(own, target.state_dict(), what))
    moments: dict[int, dict[str, Tensor]] = {}
    for i, (name, parameter) in enumerate(module.named_parameters()):
        own = {
            key.split(".")[1]: value
            for key, value in held.items()
            if key.startswith(OPTIMISER) and key.split(".", 2)[2] == name
        }
        expected = {"step": torch.zeros(()), "exp_avg": parameter, "exp_avg_sq": parameter} if own else {}
        moments[i] = fit(own, expected, f"{what}, optimiser state of {name!r}")
    state = optimiser.state_dict()
    optimiser.load_state_dict({"state": {i: m for i, m in moments.items() if m}, "param_groups": state["param_groups"]})
