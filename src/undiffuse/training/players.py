"""The players of a run: each has its own weights, optimiser and gradient."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import nn

from undiffuse.core.errors import Refused
from undiffuse.core.network import after_step
from undiffuse.core.objective import RUN, Objective, Player
from undiffuse.core.optimiser import Optimiser
from undiffuse.recipes.settings import Train
from undiffuse.training.rate import rate


class Side:
    """A player with its optimiser. beside: its modules without the one that the run trains. phases: of the rate."""

    def __init__(
        self, player: Player, model: nn.Module, optimiser: Optimiser, settings: Train, phases: Sequence[int] = ()
    ) -> None:
        self.phases = phases
        self.name, self.every, self.start = player.name, player.every, player.start
        self.updates = player.updates
        self.clip = settings.clip if player.clip is None else player.clip
        lr = settings.lr if player.lr is None else player.lr
        self.share = lr / settings.lr if lr != settings.lr else 1.0  # of the run's rate, at every step
        self.modules = player.modules
        self.beside = nn.ModuleList([each for each in player.modules if each is not model])
        self.parameters = [p for each in player.modules for p in each.parameters() if p.requires_grad]
        self.optimiser = (player.optimiser or optimiser).over(self.parameters, lr)

    def due(self, step: int) -> bool:
        """Whether it moves in step 0, 1 ..."""
        return step >= self.start and (step + 1) % self.every == 0

    def move(self, settings: Train, step: int) -> float:
        """Take step 0, 1 ... with the gradient there is; returns the learning rate."""
        lr = rate(settings, step + 1, self.phases)
        for group in self.optimiser.param_groups:
            group["lr"] = lr * self.share
        self.optimiser.step()
        self.optimiser.zero_grad()
        after_step(self.modules)
        return lr


def sides(objective: Objective, model: nn.Module, optimiser: Optimiser, settings: Train) -> list[Side]:
    """The objective's players, the run first.

    Raises Refused where none, or more than one, is the run, where names are the same, and for steps that are no number.
    """
    players = sorted(objective.players(model), key=lambda player: player.name != RUN)
    names = [player.name for player in players]
    if names[:1] != [RUN] or len(set(names)) < len(names) or not any(each is model for each in players[0].modules):
        raise Refused(
            f"the players of an objective have names of their own, and one, 'run', has the trained module; these are: "
            f"{', '.join(names) or 'none'}"
        )
    for player in players:
        own = player.every, player.start, player.updates
        if player.every < 1 or player.start < 0 or player.updates < 1 or (player.name == RUN and own != (1, 0, 1)):
            raise Refused(
                f"player {player.name!r} cannot take {player.updates} updates every {player.every} steps from step "
                f"{player.start} on: the run takes one in every step, others 1, 2 ... in one of 1, 2 ... from 0, 1 ... "
                "on"
            )
    device = next(model.parameters()).device
    for each in (each for player in players for each in player.modules):
        each.to(device)
    phases = objective.phase_ends(settings.steps)
    return [Side(player, model, optimiser, settings, phases) for player in players]


@contextmanager
def alone(side: Side, everyone: Sequence[Side]) -> Iterator[None]:
    """Inside, only this player's weights have gradients."""
    others = [p for each in everyone if each is not side for p in each.parameters]
    for parameter in others:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in others:
            parameter.requires_grad_(True)
