"""What tokens refuse by name, and the recipe's words for general matrices, levels and outputs."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import undiffuse
from undiffuse.codecs.levels import Levels
from undiffuse.core.denoiser import Predictor
from undiffuse.core.errors import Refused
from undiffuse.core.heads.token_outputs import TokenHead
from undiffuse.core.objective import Batch
from undiffuse.core.oracles import TokenOracle
from undiffuse.core.process import transition_matrices
from undiffuse.core.process.categorical import Categorical, mask, uniform
from undiffuse.core.process.transitions import Transitions
from undiffuse.likelihood import elbo
from undiffuse.networks.token_unet import TokenUNet
from undiffuse.objectives import Elbo, Hybrid, ScoreEntropy, Variational
from undiffuse.samplers import DDIM, Ancestral
from undiffuse.schedules import JSD, VP, LogLinear, MutualInformation, TokenCosine
from undiffuse.training.start import train

EYE = torch.eye(3, dtype=torch.float64)
X = torch.zeros(2, 2, dtype=torch.int64)
GENERAL = Transitions(JSD(4), transition_matrices.gaussian(JSD(4), 3))
MASKED = Categorical(LogLinear(), mask(4))
WRONG = torch.stack([EYE, torch.tensor([[0.5, 0.5, 0.0], [0.2, 0.2, 0.2], [0.0, 0.0, 1.0]]).double()])


class Flat(torch.nn.Module):
    def forward(self, x: torch.Tensor, c_time: torch.Tensor) -> torch.Tensor:
        return torch.zeros(*x.shape, 4)


@pytest.mark.each(
    ("make", "message"),
    [
        (
            lambda: Transitions(JSD(2), WRONG),
            r"row 1 of the transition matrix of step 2 sums to 0\.6; every row \(from\) must be probabilities that sum",
        ),
        (
            lambda: Transitions(JSD(2), torch.tensor([[0.5, 0.2], [0.5, 0.8]])),
            r"row 0 .* sums to 0\.7; .* sum to 1: its columns do, so transpose it",
        ),
        (
            lambda: Transitions(JSD(2), torch.tensor([[1.5, -0.5], [0.5, 0.5]])),
            "row 0 of the transition matrix of step 1 has a negative number",
        ),
        (lambda: Transitions(JSD(3), WRONG), r"one for each of the 3 steps of the schedule; got shape \(2, 3, 3\)"),
        (lambda: Transitions(VP(), EYE), "transitions take a schedule of steps; vp has none"),
        (lambda: Transitions(JSD(2), EYE, (0.5, 0.6, 0.1)), "noise_end needs 3 probabilities .* these sum to 1.2"),
        (
            lambda: transition_matrices.gaussian(LogLinear(), 5),
            r"transitions take a schedule of steps.*\(log_linear and token_cos",
        ),
        (
            lambda: transition_matrices.gaussian(JSD(5), 5000),
            "transitions between 5,000 symbols are no table; 2 to 2,048 are",
        ),
        (
            lambda: transition_matrices.nearest(JSD(5), torch.zeros(4, 1), 4),
            "4 symbols have 1 to 3 nearest neighbours each, not 4",
        ),
        (
            lambda: transition_matrices.nearest(JSD(5), torch.tensor([[0.0], [1.0], [9.0], [10.0]]), 1),
            "the graph of 1 nearest neighbours falls into 2 parts that no noise joins: take more neighbours",
        ),
        (
            lambda: GENERAL.keep(0.25, 0.5, X),
            r"keep-samplers \(ddim, remask \.\.\.\) need a noise vector; general matrices have only their",
        ),
        (lambda: GENERAL.bridge(X, GENERAL.point(X), 0.25, 0.5, torch.tensor(0.5)), "only their Markov reverse"),
        (
            lambda: DDIM().step(
                TokenOracle(GENERAL, X[:1], [1.0]), X, torch.tensor(1.0), torch.tensor(0.5), random=undiffuse.Random(0)
            ),
            "keep-samplers .* need a noise vector",
        ),
        (lambda: GENERAL.point(X + 3), r"tokens must be integers 0 \.\.\. 2; got torch.int64 from 3 to 3"),
        (lambda: GENERAL.score(X, GENERAL.point(X), 0.5), "tokens have no score"),  # type: ignore[arg-type]
        (
            lambda: Predictor(Flat(), MASKED, TokenHead("sub", 3)),
            "the denoiser has no output 'sub'; it has: probabilities, subs",
        ),
        (
            lambda: Predictor(Flat(), Categorical(LogLinear(), uniform(4)), TokenHead("subs", 4)),
            "needs a mask that is no data;",
        ),
        (lambda: Predictor(Flat(), MASKED, TokenHead("subs", 4)), "token 3, which is one of the 4 symbols of data"),
        (
            lambda: Predictor(Flat(), GENERAL, TokenHead("ratios", 3)),
            "output 'ratios' needs a noise vector; for general",
        ),
        (
            lambda: Predictor(Flat(), GENERAL, TokenHead("logistic", 2)),
            "'logistic' is for ordered levels, 3 or more, not 2",
        ),
        (lambda: Elbo(cross_entropy=-1.0), "elbo needs a weight of cross_entropy of 0 or more, not -1"),
        (lambda: _loss(Elbo(), torch.zeros(2, 2)), "elbo is the bound of tokens; that of values is trained by variat"),
        (
            lambda: _loss(Variational(), X, JSD(4)),
            "variational is for values, and Categorical .*; objectives for it: .*denoising, elbo",
        ),
        (lambda: _loss(Hybrid(), X, JSD(4)), "hybrid is for values, and Categorical is a process of tokens"),
        (
            lambda: ScoreEntropy().loss(TokenOracle(GENERAL, X[:1], [1.0]), Batch(X), undiffuse.Random(0)),
            "score_entropy needs a noise vector, and this process has matrices; objectives for it: .*denoising, elbo",
        ),
        (
            lambda: elbo(Predictor(Flat(), MASKED, TokenHead("subs", 3)), X + 3),
            r"the data have the token 3, and the symbols of data are 0 \.\.\. 2: what lies behind them, a mask, has no",
        ),
        (lambda: TokenCosine(power=0.0), r"token_cosine needs a power above 0 and an offset in \[0, 1\), not 0 and"),
        (lambda: MutualInformation(frequencies=(0.5, 0.6)), "mutual_information needs frequencies of 2 symbols"),
        (lambda: JSD(0), "a schedule needs at least 1 step, not 0"),
        (lambda: TokenUNet(vocabulary=0), "token_unet is for tokens, with an embedding of 1 or more"),
        (lambda: Levels((1.0, 1.0)), "the values of levels rise"),
        (lambda: Levels((1.0,)), "levels are 2 or more, each with its frequency; got 1 values"),
        (lambda: Levels().fit(np.zeros((4, 2))), "the data have one level only"),
        (lambda: Levels().fit(np.arange(4000.0)[:, None]), "takes up to 1,024 distinct values, and the data have more"),
        (
            lambda: Levels((0.0, 5.0)).encode(np.array([[3]])),
            r"have the number 3, which is none of the 2 levels \(the nearest is 5\)",
        ),
        (lambda: Levels().encode(np.array([[3]])), "levels is not fitted"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(make: Any, message: str):
    with pytest.raises(Refused, match=message):
        make()


def _loss(objective: Any, x: torch.Tensor, schedule: Any = None) -> Any:
    process = Categorical(schedule or LogLinear(), uniform(4))
    return objective.loss(Predictor(Flat(), process, "probabilities"), Batch(x), undiffuse.Random(0))


def test_levels_are_values_there_and_back():
    x = np.array([[0, 255, 16], [16, 16, 0]], np.uint8)
    codec = Levels().fit(x)
    assert codec == Levels((0.0, 16.0, 255.0), (1 / 3, 1 / 2, 1 / 6), "uint8")
    assert codec.vocabulary == 3
    z = codec.encode(x)
    assert z.tolist() == [[0, 2, 1], [1, 1, 0]]
    np.testing.assert_array_equal(codec.decode(z).numpy(), x)
    assert codec.decode(torch.tensor([3])).tolist() == [16]  # a mask that is left is the middle
    assert codec.log_det((3,)) == 0
    assert Levels((0.0, 255.0, 300.0)).fit(np.array([[0, 255]])).frequencies == (0.5, 0.5, 0.0)
    floats = Levels().fit(np.array([[0.5, -1.25]], np.float32))
    assert floats.decode(floats.encode(torch.tensor([[-1.25, 0.5]]))).tolist() == [[-1.25, 0.5]]


TINY = [
    *("train.steps=2", "train.batch=8", "train.preview_every=0", "train.checkpoint_every=0", "train.validate_every=0"),
    *("network.width=8", "network.multipliers=[1]", "network.attention=[]", "network.embedding=4", "sampler.steps=5"),
]


@pytest.mark.parametrize(
    "settings",
    [
        [],
        ["process.kind=nearest", "denoiser.output=logistic"],
        ["process.kind=mask", "schedule.name=jsd"],
        ["process.name=categorical", "process.noise=mask", "denoiser.output=subs", "schedule.name=mutual_information"],
        ["process.kind=MATRIX", "denoiser.output=probabilities"],
    ],
    ids=lambda s: ",".join(s[:1]) or "as it is",
)
def test_the_recipe_of_levels_trains_and_draws_pictures_of_levels(settings: list[str], tmp_path: Path):
    np.save(tmp_path / "m.npy", np.full((17, 17), 0.02) + 0.66 * np.eye(17))
    sets = [s.replace("MATRIX", str(tmp_path / "m.npy")) for s in settings]
    dropped = ["schedule.beta_start", "schedule.beta_end"] if any("schedule.name" in s for s in sets) else []
    dropped += ["process.kind"] if "process.name=categorical" in sets else []
    recipe = undiffuse.Recipe.find("digits-d3pm")
    tables = {k: {f: v for f, v in t.items() if f"{k}.{f}" not in dropped} for k, t in recipe.tables.items()}
    train(tables, out=tmp_path / "run", overrides=[*TINY, *sets]).run(progress=False)
    model = undiffuse.load(tmp_path / "run")
    drawn = model.sample(3, label=1)
    assert drawn.shape == (3, 1, 8, 8)
    assert set(drawn.flatten().tolist()) <= {round(v * 255 / 16) for v in range(17)}
    assert torch.equal(drawn, model.sample(3, label=1, sampler=Ancestral(), steps=5))
    x = model.codec.encode(drawn.numpy())
    assert bool(elbo(model.denoiser, x, subset=2).nats.isfinite().all())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["process.kind=gausian"], r"process.kind = 'gausian' is none of gaussian, nearest, .*\(did you mean 'gauss"),
        (["process.kind=no.npy"], "process.kind = 'no.npy' is no array that can be read"),
        (["schedule.name=vp"], "schedules 'vp' has no 'beta_end'|transitions take a schedule of steps"),
        (["sampler.name=ddim"], "ddim needs a noise vector, and this process has matrices; samplers for it: ancestral"),
        (["codec.name=pixels"], "process 'transitions' is for tokens and codec 'pixels' for values"),
        (["denoiser.output=subs"], "needs a mask that is no data; this has none"),
        (["denoiser.variance=learned_range"], "denoiser.variance says how a guess of values is given; this recipe has"),
        (["denoiser.output=logistic", "network.name=token_mlp"], "needs a network with outputs, and 'token_mlp' has"),
        (["objective.name=variational"], "variational is for values, and Transitions is a process of tokens"),
    ],
)
def test_recipes_that_make_no_sense_are_refused_before_anything_is_written(
    settings: list[str], message: str, tmp_path: Path
):
    small = [] if "network.name=token_mlp" in settings else TINY  # which are of the recipe's own network
    with pytest.raises(Refused, match=message):
        train("digits-d3pm", out=tmp_path / "run", overrides=[*small, *settings])
    assert not (tmp_path / "run").exists()


def test_the_matrices_of_a_file_must_fit_the_data(tmp_path: Path):
    np.savez(tmp_path / "m.npz", np.eye(5))
    with pytest.raises(Refused, match="has matrices of 5 symbols, and the data's vocabulary has 17: they need as many"):
        train("digits-d3pm", out=tmp_path / "run", overrides=[*TINY, f"process.kind={tmp_path / 'm.npz'}"])
    np.save(tmp_path / "e.npy", np.zeros((4, 2)))
    sets = ["process.kind=nearest", f"process.embedding={tmp_path / 'e.npy'}", "process.neighbours=2"]
    with pytest.raises(Refused, match="the embedding has 4 rows"):
        train("digits-d3pm", out=tmp_path / "run", overrides=[*TINY, *sets])
