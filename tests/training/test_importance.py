"""Times drawn by importance: unbiased, after every time has its losses, and the same after a stop and among parts."""

import copy
import os
import signal
from collections import deque
from pathlib import Path
from typing import Any

import pytest
import tiny_run as tiny
import torch

from undiffuse.core.errors import Refused
from undiffuse.core.random import Random
from undiffuse.optimisers.adamw import AdamW
from undiffuse.schedules import VP, LinearBeta
from undiffuse.time_distributions.importance import Importance
from undiffuse.time_distributions.uniform import Uniform
from undiffuse.training import checkpoint
from undiffuse.training.loss_history import History
from undiffuse.training.start import train
from undiffuse.training.step import Step

SCHEDULE = LinearBeta(steps=8, beta_start=1e-4, beta_end=0.02)
RECIPE: dict[str, Any] = {
    "data": {"name": "moons", "count": 100},
    "codec": {"name": "whiten"},
    "schedule": {"name": "linear_beta", "steps": 6, "beta_start": 0.05, "beta_end": 0.6},
    "network": {"name": "mlp", "width": 8, "depth": 1},
    "parameterization": {"name": "noise"},
    "objective": {"name": "variational", "variance": "posterior", "times": {"name": "importance", "recent": 3}},
    "train": {"steps": 12, "batch": 16, "warmup": 1, "lr": 0.01, "log_every": 2, "preview_every": 0, "snapshots": 0},
}


def filled(losses: torch.Tensor, **fields: Any) -> History:
    """A history in which every time had this loss all along."""
    history = History(Importance(**fields), SCHEDULE)
    history.losses[:] = losses[:, None]
    history.counts[:] = history.draw.recent
    return history


@pytest.mark.parametrize("uniform", [1e-3, 0.5])
def test_weighted_losses_have_the_mean_of_uniform_times(uniform: float):
    """E[w L] = mean(L) whatever the chances are made of, here of losses that are not those that are averaged."""
    history = filled(torch.tensor([9.0, 0.1, 4.0, 0.0, 1.0, 2.0, 3.0, 0.5]).double(), uniform=uniform)
    loss = torch.tensor([1.0, 5.0, 2.0, 0.5, 7.0, 3.0, 1.5, 2.5]).double()
    chances = history.chances
    assert float(chances.sum()) == pytest.approx(1)
    assert float((chances * loss / (8 * chances)).sum()) == pytest.approx(float(loss.mean()))
    t, weight = history(Random(0), 200_000)
    place = (t * 8).round().long() - 1
    torch.testing.assert_close(weight, 1 / (8 * chances[place]))
    often = place.bincount(minlength=8) / 200_000
    torch.testing.assert_close(often.double(), chances, rtol=0, atol=0.006)
    each = weight * loss[place]
    assert float(each.mean()) == pytest.approx(float(loss.mean()), abs=4 * float(each.std()) / 200_000**0.5)


def test_chances_follow_the_root_of_the_mean_square_with_a_share_for_all():
    history = filled(torch.zeros(8).double(), recent=2)
    history.losses[0] = torch.tensor([3.0, 4.0])
    history.losses[5] = torch.tensor([1.0, 1.0])
    size = torch.zeros(8).double()
    size[0], size[5] = 12.5**0.5, 1.0
    torch.testing.assert_close(history.chances, 0.999 * size / size.sum() + 0.001 / 8)


def test_they_are_uniform_until_every_time_has_its_losses():
    history = filled(torch.arange(8).double() + 1)
    history.counts[3] = 9
    t, weight = history(Random(1), 64)
    assert torch.equal(weight, torch.ones(64).double())
    assert torch.equal(t, Uniform()(SCHEDULE, Random(1), 64))
    history.add(torch.tensor([0.5]).double(), torch.tensor([4.0]))  # the tenth of the time 4/8
    assert float(history(Random(1), 64)[1].std()) > 0.1


def test_the_last_losses_of_each_time_are_kept():
    history, kept = History(Importance(recent=3), SCHEDULE), [deque[float](maxlen=3) for _ in range(8)]
    for step in range(5):
        t = Uniform()(SCHEDULE, Random(step), 20)
        losses = Random(step).fold(1).uniform((20,))
        history.add(t, losses)
        for place, loss in zip(((t * 8).round().long() - 1).tolist(), losses.tolist(), strict=True):
            kept[place].append(loss)
    assert [
        sorted(row[:count].tolist()) for row, count in zip(history.losses, history.counts.tolist(), strict=True)
    ] == [sorted(row) for row in kept]
    assert int(history.counts.sum()) == 100


def test_a_continuous_schedule_is_divided_into_parts():
    history = History(Importance(recent=1), VP())
    history.losses[:] = torch.arange(100)[:, None].double()
    history.counts[:] = 1
    t, weight = history(Random(0), 20_000)
    assert float((weight * t).mean()) == pytest.approx(0.5, abs=4 * float((weight * t).std()) / 20_000**0.5)
    assert float(t.mean()) == pytest.approx(2 / 3, abs=0.01)  # density 2t
    assert float(t.min()) > 0
    assert float(t.max()) <= 1


def test_a_stopped_and_resumed_run_is_the_uninterrupted_one_with_its_history(tmp_path: Path):
    train(RECIPE, out=tmp_path / "whole").run(progress=False)
    first = train(RECIPE, out=tmp_path / "run")
    for numbers in first:
        if numbers["step"] == 7:
            os.kill(os.getpid(), signal.SIGTERM)
    held = tiny.tensors(tmp_path / "run")
    assert held["history.losses"].shape == (6, 3)
    assert int(held["history.counts"].sum()) == 7 * 16
    train(tmp_path / "run", resume=True).run(progress=False)
    tiny.same(tmp_path / "whole", tmp_path / "run")
    assert int(tiny.tensors(tmp_path / "run")["history.counts"].min()) >= 3  # so the last steps drew by importance


def test_a_checkpoint_without_its_history_is_refused(tmp_path: Path):
    run = tmp_path / "run"
    train(RECIPE, out=run, overrides=["train.steps=1"]).run(progress=False)
    path = checkpoint.newest(run)
    assert path is not None
    held, state = checkpoint.load(path)
    for spoilt, message in (
        ({n: v for n, v in held.items() if n != "history.counts"}, "history of losses lacks 'counts'"),
        ({**held, "history.losses": torch.zeros(2, 3)}, r"'losses' is \(2, 3\), the model's is \(6, 3\)"),
        ({**held, "history.counts": held["history.counts"] - 99}, "history of losses is broken"),
    ):
        checkpoint.save(run, 1, spoilt, state)
        with pytest.raises(Refused, match=message):
            train(run, resume=True)


def test_a_batch_in_parts_has_the_same_history(tmp_path: Path):
    train(RECIPE, out=tmp_path / "one").run(progress=False)
    train(RECIPE, out=tmp_path / "parts", overrides=["train.accumulate=4"]).run(progress=False)
    one, parts = (tiny.tensors(tmp_path / name) for name in ("one", "parts"))
    assert torch.equal(parts["history.counts"], one["history.counts"])
    torch.testing.assert_close(parts["history.losses"], one["history.losses"], rtol=1e-3, atol=1e-4)
    for name in one:
        assert torch.allclose(one[name], parts[name], rtol=1e-3, atol=1e-4), name


class Rank:
    """One of several processes, whose messages to the others are kept in place of being sent."""

    device = torch.device("cpu")

    def __init__(self, number: int, count: int) -> None:
        self.process_index, self.num_processes = number, count
        self.sent: list[torch.Tensor] = []

    def backward(self, loss: torch.Tensor) -> None:
        loss.backward()

    def clip_grad_norm_(self, parameters: Any, largest: float) -> torch.Tensor:
        return torch.zeros(())

    def reduce(self, message: torch.Tensor, how: str) -> torch.Tensor:
        return message

    def gather(self, message: torch.Tensor) -> torch.Tensor:
        self.sent.append(message)
        return torch.cat([message] * self.num_processes)


def test_processes_gather_their_losses_by_place_in_the_batch(tmp_path: Path):
    """What two processes send, one behind the other, is what one process has."""
    training = train(RECIPE, out=tmp_path / "run")
    sent: list[torch.Tensor] = []
    for count in (1, 2):
        ranks: list[Any] = [Rank(number, count) for number in range(count)]
        for rank in ranks:
            module = copy.deepcopy(training.module)
            step = Step(rank, module, training.stepper.objective, training.data, training.settings, AdamW())
            step.gradient(0)
            step.update(0)
            assert step.history is not None
            assert int(step.history.counts.sum()) == 16
        sent.append(torch.cat([rank.sent[0] for rank in ranks]))
    assert len(sent[0]) == 16
    torch.testing.assert_close(sent[0], sent[1], rtol=1e-5, atol=1e-6)


def test_meaningless_numbers_are_refused():
    cases: tuple[tuple[dict[str, Any], str], ...] = (
        ({"recent": 0}, "0 and 0.001"),
        ({"uniform": 0.0}, "10 and 0"),
        ({"uniform": 2.0}, "10 and 2"),
    )
    for fields, said in cases:
        with pytest.raises(Refused, match=rf"importance needs recent >= 1 and uniform in \(0, 1\], not {said}"):
            Importance(**fields)
