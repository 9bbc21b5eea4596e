"""A run's tensors by name: weights, averages, optimisers and what an objective changes, to and from a checkpoint."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from undiffuse.core.errors import Refused
from undiffuse.storage.files import fit
from undiffuse.training.players import Side

WEIGHTS, AVERAGE, OPTIMISER, HISTORY, OBJECTIVE = "weights.", "average.", "optimiser.", "history.", "objective."


@dataclass(frozen=True, eq=False)
class State:
    """Everything that a step changes; averages: by the prefix of each. optimiser: of the module. history: what times
    are drawn by. sides: the players, of which the module's own is first. objective: what else changes.
    """

    module: nn.Module
    averages: Mapping[str, nn.Module]
    optimiser: torch.optim.Optimizer
    history: Mapping[str, Tensor]
    sides: Sequence[Side] = ()
    objective: Mapping[str, Tensor] = field(default_factory=dict[str, Tensor])

    def tensors(self) -> dict[str, Tensor]:
        """By name: `weights.<name>`, `optimiser.<moment>.<name>`, `history.<name>`, `objective.<name>`, each average
        under its prefix, of which sampling uses `average.<name>`, and of each player `players.<player>.weights.<name>`
        and `players.<player>.optimiser.<moment>.<name>`.
        """
        held = {
            f"{prefix}{name}": value
            for prefix, each in self._modules().items()
            for name, value in each.state_dict().items()
        }
        for prefix, (optimiser, module) in self._optimisers().items():
            for name, parameter in module.named_parameters():
                moments = optimiser.state.get(parameter, {})
                known = {moment: _single(moment, value) for moment, value in moments.items() if value is not None}
                held |= {f"{prefix}{moment}.{name}": value for moment, value in known.items()}
        for prefix, tensors in ((HISTORY, self.history), (OBJECTIVE, self.objective)):
            held |= {f"{prefix}{name}": value for name, value in tensors.items()}
        return held

    @torch.no_grad()
    def restore(self, held: Mapping[str, Tensor], what: str) -> None:
        """Put them back, in place; raises Refused, naming the tensor, if one is missing, unknown or does not fit."""
        weights = [
            (target, fit(_under(prefix, held), target.state_dict(), what)) for prefix, target in self._modules().items()
        ]
        for prefix, (optimiser, module) in self._optimisers().items():  # before the weights: it takes a step
            _restore(optimiser, module, _under(prefix, held), what)
        for target, fitting in weights:
            target.load_state_dict(fitting)
        for name, value in fit(_under(HISTORY, held), self.history, f"{what}, history of losses").items():
            if not bool(value.isfinite().all()) or (int(value.min()) < 0 and not value.is_floating_point()):
                raise Refused(f"{what}, history of losses is broken: {name!r} holds what no training leaves there")
            self.history[name].copy_(value)
        for name, value in fit(_under(OBJECTIVE, held), self.objective, f"{what}, state of the objective").items():
            self.objective[name].copy_(value)
        known = (HISTORY, OBJECTIVE, *self._modules(), *self._optimisers())
        if stray := [name for name in held if not name.startswith(known)]:
            raise Refused(f"{what} holds {stray[0]!r}, which this run does not have")

    def _modules(self) -> dict[str, nn.Module]:
        beside = {f"players.{side.name}.{WEIGHTS}": side.beside for side in self.sides if len(side.beside)}
        return {WEIGHTS: self.module, **self.averages, **beside}

    def _optimisers(self) -> dict[str, tuple[torch.optim.Optimizer, nn.Module]]:
        beside = {f"players.{side.name}.{OPTIMISER}": (side.optimiser, side.beside) for side in self.sides}
        return {OPTIMISER: (self.optimiser, self.module)} | {k: v for k, v in beside.items() if len(v[1])}  # pyright: ignore[reportArgumentType]


def _under(prefix: str, held: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in held.items() if name.startswith(prefix)}


def _restore(optimiser: torch.optim.Optimizer, module: nn.Module, held: Mapping[str, Tensor], what: str) -> None:
    """Fill the optimiser's state of a module's weights; what it holds is seen from one step with no gradient."""
    named = dict(module.named_parameters())
    everything = list(chain.from_iterable(group["params"] for group in optimiser.param_groups))
    if held and not all(parameter in optimiser.state for parameter in everything):
        for parameter in everything:
            parameter.grad = torch.zeros_like(parameter)
        optimiser.step()
        optimiser.zero_grad()
    own: dict[str, dict[str, Tensor]] = {}
    for key, value in held.items():
        moment, _, name = key.partition(".")
        if name not in named:
            raise Refused(f"{what} holds {OPTIMISER + key!r}, which this run does not have")
        own.setdefault(name, {})[moment] = value
    for name, parameter in named.items():
        mine: dict[str, Any] = optimiser.state.get(parameter, {})
        if name not in own:
            optimiser.state.pop(parameter, None)
            continue
        expected = {moment: _single(moment, value) for moment, value in mine.items() if value is not None}
        for moment, value in fit(own[name], expected, f"{what}, optimiser state of {name!r}").items():
            if isinstance(mine[moment], Tensor):
                mine[moment].copy_(value)
            else:
                mine[moment] = type(mine[moment])(value.item())


def _single(moment: str, value: Any) -> Tensor:
    """A moment as a checkpoint has it: steps are counted in float32, whatever torch's default dtype is."""
    value = value if isinstance(value, Tensor) else torch.tensor(value, dtype=torch.float64)
    return value.float() if moment == "step" else value
