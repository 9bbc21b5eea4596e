"""The grid along which single steps stray least from the fine trajectory, by dynamic programming."""

import torch
from torch import Tensor

from undiffuse.core.probability_flow import radius
from undiffuse.tuning.fine import Fine

CANDIDATES, ROWS = 64, 32  # times to choose among, and how many trajectories they are judged on


def least_straying(fine: Fine, steps: int) -> Tensor:
    """The grid of so many steps, (steps + 1,), whose local errors sum to least.

    The error of a step from t to s: root mean square of the difference between the DDIM step from the fine state at t
    and the fine state at s, over sqrt(alpha_s^2 + sigma_s^2). Such errors add up where all point one way.
    Source: the deviations of arXiv:2405.11326, eq. 9 and alg. 1.
    """
    last = len(fine.times) - 1
    count = min(max(CANDIDATES, steps + 1), last)
    nodes = [*torch.linspace(0, last - 1, count, dtype=torch.float64).round().long().unique().tolist(), last]
    if steps >= len(nodes):
        return fine.times[[0, *range(last - steps + 1, last + 1)]]
    errors = _errors(fine, nodes)
    best = torch.full((len(nodes),), torch.inf, dtype=torch.float64)
    best[-1] = 0.0  # the least sum from each node down to the end, in so many steps as there were rounds
    choices: list[Tensor] = []
    for _ in range(steps):
        best, choice = (errors + best).min(1)
        choices.append(choice)
    path = [0]
    for choice in reversed(choices):
        path.append(int(choice[path[-1]]))
    return fine.times[[nodes[i] for i in path]]


def _errors(fine: Fine, nodes: list[int]) -> Tensor:
    """The local error of a step from each node to each later one, (nodes, nodes); infinite backwards."""
    found = torch.full((len(nodes), len(nodes)), torch.inf, dtype=torch.float64)
    alpha, sigma = fine.schedule.alpha(fine.times), fine.schedule.sigma(fine.times)
    for a, i in enumerate(nodes[:-1]):
        x, guess = fine.states[i, :ROWS], fine.guesses[i, :ROWS]
        for b in range(a + 1, len(nodes)):
            j = nodes[b]
            keep = float(sigma[j] / sigma[i])
            step = keep * x + (float(alpha[j]) - keep * float(alpha[i])) * guess
            error = (step - fine.states[j, :ROWS]).double().pow(2).mean().sqrt()
            found[a, b] = error / radius(fine.schedule, fine.times[j])
    return found
