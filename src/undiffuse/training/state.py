"""A run's tensors by name: weights, their average and the optimiser's moments, to and from a checkpoint."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from undiffuse.core.errors import Refused
from undiffuse.storage.files import fit

WEIGHTS, AVERAGE, OPTIMISER, HISTORY = "weights.", "average.", "optimiser.", "history."
MOMENTS = ("step", "exp_avg", "exp_avg_sq")  # of AdamW


@dataclass(frozen=True, eq=False)
class State:
    """Everything that a step changes; averages: by the prefix of each. history: what times are drawn by."""

    module: nn.Module
    averages: Mapping[str, nn.Module]
    optimiser: torch.optim.Optimizer
    history: Mapping[str, Tensor]

    def tensors(self) -> dict[str, Tensor]:
        """By name: `weights.<name>`, `optimiser.<moment>.<name>`, `history.<name>`, and each average under its prefix,
        of which sampling uses `average.<name>`.
        """
        held = {
            f"{prefix}{name}": value
            for prefix, each in {WEIGHTS: self.module, **self.averages}.items()
            for name, value in each.state_dict().items()
        }
        for name, parameter in self.module.named_parameters():
            moments = self.optimiser.state[parameter]
            held |= {f"{OPTIMISER}{moment}.{name}": _single(moment, value) for moment, value in moments.items()}
        return held | {f"{HISTORY}{name}": value for name, value in self.history.items()}

    def restore(self, held: Mapping[str, Tensor], what: str) -> None:
        """Put them back, in place; raises Refused, naming the tensor, if one is missing, unknown or does not fit."""
        for prefix, target in {WEIGHTS: self.module, **self.averages}.items():
            own = {name.removeprefix(prefix): value for name, value in held.items() if name.startswith(prefix)}
            target.load_state_dict(fit(own, target.state_dict(), what))
        past = {name.removeprefix(HISTORY): value for name, value in held.items() if name.startswith(HISTORY)}
        for name, value in fit(past, self.history, f"{what}, history of losses").items():
            if not bool(value.isfinite().all()) or (int(value.min()) < 0 and not value.is_floating_point()):
                raise Refused(f"{what}, history of losses is broken: {name!r} holds what no training leaves there")
            self.history[name].copy_(value)
        known = {f"{moment}.{name}" for name, _ in self.module.named_parameters() for moment in MOMENTS}
        elsewhere = (WEIGHTS, HISTORY, *self.averages)
        stray = [n for n in held if not n.startswith(elsewhere) and n.removeprefix(OPTIMISER) not in known]
        if stray:
            raise Refused(f"{what} holds {stray[0]!r}, which this run does not have")
        moments: dict[int, dict[str, Tensor]] = {}
        for i, (name, parameter) in enumerate(self.module.named_parameters()):
            own = {
                key.split(".")[1]: value
                for key, value in held.items()
                if key.startswith(OPTIMISER) and key.split(".", 2)[2:] == [name]
            }
            expected = {"exp_avg": parameter, "exp_avg_sq": parameter, "step": torch.zeros((), dtype=torch.float32)}
            moments[i] = fit(own, expected if own else {}, f"{what}, optimiser state of {name!r}")
        state = self.optimiser.state_dict()
        self.optimiser.load_state_dict(
            {"state": {i: m for i, m in moments.items() if m}, "param_groups": state["param_groups"]}
        )


def _single(moment: str, value: Tensor) -> Tensor:
    """A moment as a checkpoint has it: AdamW counts its steps in torch's default dtype, whatever that is."""
    return value.float() if moment == "step" else value
