"""A stage that is stopped early hands its state over: the law is that of a finished sample with new noise."""

from typing import Any

import pytest
import torch
import toy

from undiffuse.codecs.pixels import PixelsCodec
from undiffuse.core.errors import Refused
from undiffuse.models.chain import Chain
from undiffuse.sampling.chained import StageTable, said

N = 3000


def chain(level: float, shift: float = 0.0, truncated: bool = False) -> Chain:
    runs = {"base": toy.run(toy.Base(shift)), "up": toy.run(toy.Up(), low=toy.low())}
    return Chain.of_runs(runs, {"up": StageTable("runs/up", augmentation=level, truncated=truncated)})


def test_truncated_and_finished_agree_in_law_for_an_exact_base_and_in_its_error():
    """high ~ N(0, C^2 V + W); a base that is off by d moves it by C d alpha^2 V / (alpha^2 V + s^2), either way."""
    level, variance = 0.6, toy.C**2 * toy.V + toy.W
    found = chain(level, truncated=True).sample(N)
    assert abs(float(found.double().mean())) < 4 * (variance / N) ** 0.5
    assert float(found.double().var()) == pytest.approx(variance, rel=4 * (2 / N) ** 0.5)
    finished = chain(level).sample(N)
    assert not torch.equal(finished, found)
    assert found.calls < finished.calls
    moved = (chain(level, 0.5, truncated=True).sample(N).double() - found.double()).mean()
    signal = (1 - level**2) * toy.V
    assert float(moved) == pytest.approx(0.5 * toy.C * signal / (signal + level**2), rel=0.02)


def test_what_is_handed_over_is_the_state_of_the_stage_before():
    made = chain(0.6, truncated=True)
    drawn = made.sample(6, seed=3)
    assert torch.equal(made.sample(2, seed=3, indices=[4, 5]), drawn[4:])
    filmed = made.open(n=6, seed=3).film()
    assert torch.equal(filmed, drawn)
    assert filmed.frames is not None
    assert filmed.frames.shape[0] < 82  # the states of the first stage end early
    plain = chain(0.0, truncated=True).sample(6, seed=3)
    assert torch.equal(plain, chain(0.0).sample(6, seed=3))  # without noise there is nothing to stop at
    with pytest.raises(Refused, match="level of 1 is as noisy as where sampling begins"):
        made.sample(1, augmentation=1.0)


def test_what_cannot_be_handed_over_is_refused():
    base = toy.run(toy.Base(0.0))
    other = toy.run(toy.Base(0.0), codec=PixelsCodec(0.0, 4.0, "float32"))
    tables = {"up": StageTable("runs/up", augmentation=0.3, truncated=True)}
    up = toy.run(toy.Up(), low=toy.low())
    with pytest.raises(Refused, match=r"the numbers that 'base' denoises are not the picture as 'up' takes it"):
        Chain.of_runs({"base": other, "up": up}, tables)
    with pytest.raises(Refused, match=r"without noise \(conditions.low.noise\)"):
        Chain.of_runs({"base": base, "up": toy.run(toy.Up(), low=toy.low(0.0))}, {"up": StageTable("", truncated=True)})
    with pytest.raises(Refused, match="'base' is a chain that draws by no noise on values"):
        Chain.of_runs({"base": Chain.of_runs({"base": base, "up": up}), "up": up}, tables)


def resized(run: Any, filter: str = "box", fit: str = "crop") -> Any:
    data = {"size": 1, "filter": filter, "fit": fit}
    return toy.replaced(run, data=data)


def test_small_pictures_of_another_filter_are_refused():
    base = toy.run(toy.Base(0.0))
    up = toy.replaced(toy.run(toy.Up(), low=toy.low()), conditions={"low": {"of": "superresolve:4"}})
    assert Chain.of_runs({"base": resized(base), "up": resized(up)}).stages[1].fills == "low"
    assert Chain.of_runs({"base": resized(base), "up": up})
    says = "'base' was trained on pictures resized by the filter 'bicubic'.*train 'base' with --set data.filter=box"
    with pytest.raises(Refused, match=says):
        Chain.of_runs({"base": resized(base, "bicubic"), "up": up})
    with pytest.raises(Refused, match=r"train 'up' with --set data.filter=box"):
        Chain.of_runs({"base": resized(base), "up": resized(up, "lanczos")})
    with pytest.raises(Refused, match=r"other parts of the pictures: data.fit is 'pad' and 'crop'"):
        Chain.of_runs({"base": resized(base, fit="pad"), "up": resized(up)})


def test_words_of_the_command_line_say_which_stage_is_truncated():
    found = said(["base=a", "up=b"], levels=["up=0.3"], truncated=["up"])
    assert found["up"] == StageTable("b", augmentation=0.3, truncated=True)
    with pytest.raises(Refused, match="the chain's stages has no 'upp'"):
        said(["base=a", "up=b"], truncated=["upp"])


def test_a_threshold_is_of_all_stages_or_of_one():
    """Guesses that a dynamic threshold has brought into the range come out inside it; without one they do not."""
    base = toy.run(toy.Base(1.5), codec=PixelsCodec(-1.0, 1.0, "float32"))
    made = Chain.of_runs({"base": base, "up": toy.run(toy.Up(), low=toy.low())})
    opened = made.open(n=2, threshold="dynamic:0.9", stages={"up": {"threshold": "none"}})
    assert [opened.of_stage(i, None).threshold for i in (0, 1)] == ["dynamic:0.9", "none"]
    plain, kept = (base.open(opened.of_stage(0, None), n=200, threshold=word).encoded() for word in ("none", "dynamic"))
    assert float(kept.abs().max()) <= 1 + 1e-6 < float(plain.abs().max())
    with pytest.raises(Refused, match=r"threshold = 'dynamic:0.9' needs data with bounds"):
        made.sample(2, threshold="dynamic:0.9")  # the second stage has none
