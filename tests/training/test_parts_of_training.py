"""The parts of training that are computed from the step alone: averages, learning rates, batches, numbers, the log."""

import json
import math
import signal
import threading
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from undiffuse.codecs.identity import Identity
from undiffuse.codecs.pixels import PixelsCodec
from undiffuse.conditions.label import LabelCondition
from undiffuse.core.errors import Refused
from undiffuse.data.rows import MappedRows
from undiffuse.recipes.settings import EMA_STD, Train
from undiffuse.training import batches, due, log
from undiffuse.training.batches import Batches
from undiffuse.training.ema import EMA, gamma, power
from undiffuse.training.numbers import Numbers
from undiffuse.training.rate import rate
from undiffuse.training.stop import Stop

WIDTHS = [(16.9722, 0.05), (6.9372, 0.10), (gamma(EMA_STD), 0.10), (gamma(0.2), 0.2)]


@pytest.mark.parametrize(("exponent", "width"), WIDTHS)
def test_the_power_function_average_weighs_step_tau_by_tau_to_the_gamma(exponent: float, width: float):
    """arXiv:2312.02696, sec. 3.1: the weights are tau^gamma; their standard deviation is this share of the training."""
    steps = 4000
    weights = np.zeros(steps)
    for step in range(1, steps + 1):
        beta = power(step, exponent)
        weights *= beta
        weights[step - 1] += 1 - beta
    assert weights.sum() == pytest.approx(1)
    tau = np.arange(1, steps + 1) / steps
    ideal = tau**exponent / (tau**exponent).sum()
    assert np.abs(weights - ideal).sum() < 0.01
    mean = (weights * tau).sum()
    assert math.sqrt((weights * (tau - mean) ** 2).sum()) == pytest.approx(width, rel=0.01)


def test_the_average_follows_the_weights_and_copies_buffers():
    module = nn.BatchNorm1d(2)
    assert module.running_mean is not None
    average = EMA(module, gamma=None, decay=0.9)
    with torch.no_grad():
        module.weight.fill_(2.0)
        module.running_mean.fill_(5.0)
    average.update(1)
    held = average.module.state_dict()
    assert held["weight"].tolist() == pytest.approx([1.1, 1.1])
    assert held["running_mean"].tolist() == [5.0, 5.0]
    assert not average.module.training
    assert not any(p.requires_grad for p in average.module.parameters())
    first = EMA(module, gamma=6.94, decay=None)
    with torch.no_grad():
        module.weight.fill_(7.0)
    first.update(1)
    assert first.module.state_dict()["weight"].tolist() == [7.0, 7.0]


@pytest.mark.parametrize(
    ("ramp", "step", "beta"),
    [
        ("tenth", 1, 2 / 11),
        ("tenth", 90, 0.91),
        ("none", 1, 0.9999),
        # arXiv:2303.04137's released code (EMAModel.get_decay): 0, 0, then 1 - 2^(-3/4), 1 - 3^(-3/4) ...
        *(("power", step + 1, beta) for step, beta in enumerate([0, 0, 0.4054, 0.5613, 0.6464])),
        ("power", 1002, 1 - 1001**-0.75),
    ],
)
def test_a_constant_decay_may_be_reached_by_a_ramp(ramp: Any, step: int, beta: float):
    """From there on it is the decay, and the gap between the two never comes back."""
    average = EMA.of(nn.Linear(1, 1), Train(steps=10, ema_decay=0.9999, ema_ramp=ramp))
    assert average.beta(step) == pytest.approx(beta, abs=5e-6 if beta > 0.99 else 5e-5)
    assert average.beta(10**8) == 0.9999
    rising = [average.beta(n) for n in range(1, 2000)]
    assert rising == sorted(rising)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"ema_ramp": "half", "ema_decay": 0.9}, "train.ema_ramp must be one of none, tenth, power, not 'half'"),
        ({"ema_ramp": "tenth"}, "train.ema_ramp leads up to a constant decay: give train.ema_decay"),
    ],
)
def test_ramps_that_lead_nowhere_are_refused(settings: dict[str, Any], message: str):
    with pytest.raises(Refused, match=message):
        Train(steps=10, **settings)


def test_the_learning_rate_rises_then_falls_to_nothing():
    settings = Train(steps=100, lr=2.0, warmup=10)
    rates = [rate(settings, step) for step in range(1, 101)]
    assert rates[:10] == pytest.approx([0.2 * step for step in range(1, 11)])
    assert max(rates) == 2.0
    assert all(a > b for a, b in pairwise(rates[10:]))
    assert 0 < rates[-1] < 0.002
    assert sum(rates[9:]) == pytest.approx(91 * 1.0 + 1, rel=0.001)  # a cosine's mean is one half
    flat = Train(steps=100, lr=2.0, warmup=0, decay="constant")
    assert {rate(flat, step) for step in range(1, 101)} == {2.0}
    root = Train(steps=100, lr=2.0, warmup=10, decay="inverse_sqrt", decay_from=20)
    assert [rate(root, step) for step in (5, 10, 20, 80, 100)] == pytest.approx([1.0, 2.0, 2.0, 1.0, 2 / 5**0.5])
    one_alone: list[dict[str, Any]] = [{"decay": "inverse_sqrt"}, {"decay_from": 20}]
    for alone in one_alone:
        with pytest.raises(Refused, match=r"train.decay = 'inverse_sqrt' and train.decay_from, .* go together"):
            Train(steps=100, **alone)


def test_the_rate_warms_up_and_decays_in_every_phase():
    settings = Train(steps=100, lr=2.0, warmup=5)
    first, second = Train(steps=30, lr=2.0, warmup=5), Train(steps=70, lr=2.0, warmup=5)
    wanted = [rate(first, step) for step in range(1, 31)] + [rate(second, step) for step in range(1, 71)]
    assert [rate(settings, step, (30, 100)) for step in range(1, 101)] == wanted
    assert [rate(settings, step, (100,)) for step in (1, 50, 100)] == [rate(settings, step) for step in (1, 50, 100)]


def numbered(count: int, size: int, **options: float) -> Batches:
    """Items that are their own numbers."""
    x = np.arange(count, dtype=np.float32)[:, None]
    return Batches.of(x, {"label": np.arange(count)}, Identity(), size, 0, **options)


@pytest.mark.parametrize(("count", "size"), [(10, 4), (10, 10), (3, 8), (7, 1)])
def test_every_epoch_sees_every_item_once_in_a_fresh_order(count: int, size: int):
    data = numbered(count, size)
    dealt = torch.cat([data.indices(step) for step in range(count * 3)])
    epochs = dealt[: count * 3].view(3, count)
    assert all(sorted(epoch.tolist()) == list(range(count)) for epoch in epochs)
    assert len({tuple(epoch.tolist()) for epoch in epochs}) > 1
    assert torch.equal(data.indices(2), numbered(count, size).indices(2))


def test_a_batch_holds_what_belongs_together_and_the_parts_of_two_processes_make_it_up():
    data = numbered(50, 8, drop=0.5)
    whole = data.at(3)
    x, cond = whole.x, whole.cond
    assert x[:, 0].tolist() == cond["label"].tolist() == data.indices(3).tolist()
    parts = [data.at(3, rows) for rows in (slice(0, 4), slice(4, 8))]
    assert torch.equal(torch.cat([part.x for part in parts]), x)
    assert torch.equal(torch.cat([part.cond["drop"] for part in parts]), cond["drop"])


def test_conditions_are_hidden_as_often_as_asked():
    hidden = torch.cat([numbered(50, 500, drop=0.3).at(step).cond["drop"] for step in range(20)]).float()
    assert float(hidden.mean()) == pytest.approx(0.3, abs=0.02)
    assert "drop" not in numbered(50, 8).at(0).cond


def test_half_of_the_images_are_mirrored_and_pixels_are_encoded():
    picture = np.array([[[0, 255]]], dtype=np.uint8)
    data = Batches.of(np.stack([picture] * 200), {}, PixelsCodec(), 200, 0, flip=True)
    left = data.at(0).x[:, 0, 0, 0]
    assert set(left.tolist()) == {-1.0, 1.0}
    assert float(left.mean()) == pytest.approx(0, abs=0.2)
    assert not torch.equal(left, data.at(1).x[:, 0, 0, 0])


def test_sixteen_bit_images_can_be_dealt():
    data = Batches.of(np.full((3, 1, 2, 2), 65535, np.uint16), {}, PixelsCodec(high=65535.0, dtype="uint16"), 2, 0)
    assert data.at(0).x.tolist() == torch.ones(2, 1, 2, 2).tolist()


def test_rows_of_a_large_array_are_dealt_as_the_items_and_reach_a_device_whole(monkeypatch: pytest.MonkeyPatch):
    x = np.arange(40 * 12, dtype=np.uint16).reshape(40, 1, 3, 4)
    rows = MappedRows(np.concatenate([x, x])[::-1]).take(np.arange(40)[::-1])
    codec = PixelsCodec().fit(x)
    plain, viewed = (Batches.of(items, {}, codec, 7, 0) for items in (x, rows))
    monkeypatch.setattr(batches, "BLOCK", 200)
    there = batches._onto(rows, torch.device("cpu"))
    for dealt in (viewed, replace(viewed, x=there)):
        assert all(torch.equal(dealt.at(step).x, plain.at(step).x) for step in range(12))


def test_numbers_are_fetched_when_they_are_read():
    numbers = Numbers({"loss": torch.tensor(0.5), "step": 3})
    assert numbers["loss"] == 0.5
    assert isinstance(numbers["loss"], float)
    assert dict(numbers) == {"loss": 0.5, "step": 3}
    assert len(numbers) == 2


def test_the_log_is_cut_at_the_step_where_a_run_goes_on(tmp_path: Path):
    first = log.Log(tmp_path, 0)
    for step in (2, 4, 6):
        first.write({"step": step, "loss": 1 / step, "levels": {"loss": [1.0]}, "bad": math.nan})
    first.close()
    with (tmp_path / log.FILE).open("a") as file:
        file.write('{"step": 7, "lo')
    assert [line["step"] for line in log.read(tmp_path)] == [2, 4, 6]
    second = log.Log(tmp_path, 4)
    second.write({"step": 5})
    second.close()
    lines = [json.loads(line) for line in (tmp_path / log.FILE).read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4, 5]
    assert lines[0] == {"step": 2, "loss": 0.5, "levels": {"loss": [1.0]}, "bad": None}
    assert list((tmp_path / log.BOARD).glob("events*"))
    assert log.read(tmp_path / "absent") == []


def test_previews_are_early_in_long_runs_and_at_the_start_of_all_but_the_shortest():
    def shown(steps: int, every: int) -> list[int]:
        settings = Train(steps=steps, preview_every=every)
        return [step for step in range(steps + 1) if due.preview(settings, step)]

    assert shown(1200, 500) == [0, 100, 200, 500, 1000, 1200]
    assert shown(1000, 150) == [0, 100, 150, 300, 450, 600, 750, 900, 1000]
    assert shown(400, 500) == [0, 400]
    assert shown(90, 500) == [90]
    assert shown(4, 2) == [0, 2, 4]
    assert shown(1000, 0) == []


def test_a_signal_is_noted_a_second_interrupts_and_all_is_put_back():
    before = signal.getsignal(signal.SIGINT)
    stop = Stop()
    with stop, stop:
        signal.raise_signal(signal.SIGINT)
        assert stop.signal == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before
    other = Stop()
    thread = threading.Thread(target=lambda: other.__enter__().__exit__(None, None, None))
    thread.start()
    thread.join()
    assert other.signal is None


def test_a_chance_is_between_0_and_1():
    with pytest.raises(Refused, match=r"the chance that a condition is dropped: from 0 to 1, not -0.1"):
        LabelCondition(drop=-0.1)
