"""Laws of the adaptive solver: closed forms, torchdiffeq's results, and samples that do not know of each other."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torchdiffeq import odeint

from undiffuse.core.ode import UnsolvedError, solve

START = torch.tensor([[1.0, 0.0], [0.3, -0.2], [5.0, 4.0]], dtype=torch.float64)
SPEED = torch.tensor([1.0, 7.0, 0.1], dtype=torch.float64)


def turn(y: Tensor, u: Tensor, rows: Tensor) -> Tensor:
    """Each sample turns at its own speed."""
    return SPEED[rows, None] * torch.stack([-y[:, 1], y[:, 0]], dim=1)


def turned(angle: float) -> Tensor:
    cos, sin = (SPEED * angle).cos()[:, None], (SPEED * angle).sin()[:, None]
    return torch.cat([START[:, :1] * cos - START[:, 1:] * sin, START[:, :1] * sin + START[:, 1:] * cos], dim=1)


@pytest.mark.parametrize("stay", [False, True])
@pytest.mark.parametrize(("start", "stop"), [(0.0, 2.0), (2.0, 0.0)])
def test_a_rotation_is_solved_in_both_directions(start: float, stop: float, stay: bool):
    found = solve(turn, START, start, stop, rtol=1e-10, atol=1e-10, most=1000, stay=stay)
    torch.testing.assert_close(found, turned(stop - start), rtol=0, atol=1e-7)


def test_the_result_is_torchdiffeqs_within_the_tolerance():
    def bent(y: Tensor, u: Tensor, rows: Any = None) -> Tensor:
        return (3 * u.reshape(-1, 1)).sin() * y - y**3

    found = solve(bent, START, 0.1, 3.0, rtol=1e-9, atol=1e-9, most=1000)
    times = torch.tensor([0.1, 3.0], dtype=torch.float64)
    theirs: Any = odeint(lambda t, y: bent(y, t), START, times, rtol=1e-9, atol=1e-9, method="dopri5")
    torch.testing.assert_close(found, theirs[-1], rtol=0, atol=1e-7)


def test_a_sample_is_solved_alike_in_any_company_and_an_easy_one_leaves_early():
    seen: list[list[int]] = []

    def watched(y: Tensor, u: Tensor, rows: Tensor) -> Tensor:
        seen.append(rows.tolist())
        return turn(y, u, rows)

    together = solve(watched, START, 0.0, 2.0, rtol=1e-6, atol=1e-6, most=1000)
    assert seen[0] == [0, 1, 2]
    assert seen[-1] == [1]  # the fastest
    for i in range(3):
        alone = solve(
            lambda y, u, rows, i=i: turn(y, u, rows + i), START[i : i + 1], 0.0, 2.0, rtol=1e-6, atol=1e-6, most=1000
        )
        assert torch.equal(alone[0], together[i])


def test_progress_rises_to_one():
    heard: list[float] = []
    solve(turn, START, 0.0, 2.0, rtol=1e-5, atol=1e-5, most=1000, moved=heard.append)
    assert heard == sorted(heard)
    assert heard[-1] == 1


@pytest.mark.parametrize(
    ("slope", "most", "message"),
    [
        (turn, 3, "not done after 3 steps"),
        (lambda y, u, rows: y * math.nan, 1000, "no step is small enough at 0"),
        (lambda y, u, rows: y**2, 1000, "no step is small enough at"),  # infinite at u = 1
    ],
)
def test_what_cannot_be_solved_is_said(slope: Any, most: int, message: str):
    with pytest.raises(UnsolvedError, match=message):
        solve(slope, START[:1], 0.0, 2.0, rtol=1e-6, atol=1e-6, most=most)
