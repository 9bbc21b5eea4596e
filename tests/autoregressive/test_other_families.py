"""A normalizing flow is inverted exactly and knows its volume; a GAN is a game of two players without a likelihood."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import undiffuse
from undiffuse.core.distribution.discretised_normal import Decoder
from undiffuse.core.errors import Refused, unknown
from undiffuse.core.implicit import ImplicitModel
from undiffuse.core.normalizing_flow import NormalizingFlow
from undiffuse.core.objective import Batch
from undiffuse.core.random import Random
from undiffuse.evaluation.judge import Judge
from undiffuse.models.load import scoring
from undiffuse.networks.coupling_flow import CouplingFlow
from undiffuse.networks.fvbn import FVBN
from undiffuse.networks.mlp_generator import MLPGenerator
from undiffuse.objectives.adversarial import PLAYER, Adversarial
from undiffuse.sampling.evaluation_request import EvaluationRequest
from undiffuse.sampling.request import SampleRequest

pytestmark = pytest.mark.usefixtures("quick_evaluation")

PICTURES = np.random.default_rng(0).choice(np.array([0, 9, 90], np.uint8), (60, 4, 4))
FLOW: dict[str, Any] = {
    "kind": "normalizing_flow",
    "codec": {"name": "levels"},
    "network": {"name": "coupling_flow", "width": 8, "depth": 1},
    "objective": {"name": "maximum_likelihood"},
}
GAN: dict[str, Any] = {
    "kind": "gan",
    "codec": {"name": "pixels"},
    "network": {"name": "mlp_generator", "latents": 3, "width": 8},
    "objective": {"name": "adversarial", "width": 8},
}


def tables(place: Path, kind: dict[str, Any], **changed: Any) -> dict[str, Any]:
    np.savez(place / "pictures.npz", images=PICTURES, labels=np.arange(len(PICTURES)) % 2)
    data = {"name": "file", "path": str(place / "pictures.npz")}
    train = {"steps": 4, "batch": 8, "previews": 4, "snapshots": 0, "warmup": 0, "checkpoint_every": 2}
    return {**kind, "data": data, "train": train, **changed}


def random_flow(channels: int = 1, classes: int = 0) -> CouplingFlow:
    made = CouplingFlow((channels, 4, 4), width=6, depth=2, classes=classes)
    with torch.no_grad():
        for parameter in made.parameters():  # scales and shifts begin at 0
            parameter.add_(0.1 * torch.randn_like(parameter))
    return made.requires_grad_(False)


@pytest.mark.each("channels", [1, 3])
def test_a_flow_is_inverted_and_its_volume_is_that_of_the_jacobian(channels: int):
    flow, x = random_flow(channels), torch.randn(3, channels, 4, 4)
    z, volume = flow(x)
    assert float((flow.inverse(z) - x).abs().max()) < 1e-5
    assert float((z - x).abs().max()) > 0.1
    wide = flow.double()
    jacobian: Any = torch.autograd.functional.jacobian(lambda y: wide(y[None])[0][0], x[0].double())
    size = channels * 16
    exact = torch.linalg.slogdet(jacobian.reshape(size, size))[1]
    assert float(volume[0]) == pytest.approx(float(exact), abs=1e-5)


def test_a_class_is_a_bias_of_every_first_layer_and_a_dropped_one_is_none():
    flow, x, label = random_flow(classes=2), torch.randn(3, 1, 4, 4), torch.tensor([1, 1, 0])
    drop = torch.tensor([False, True, False])
    z, volume = flow(x, label, drop)
    assert float((flow.inverse(z, label, drop) - x).abs().max()) < 1e-5
    for row, of in ((1, None), (0, 1), (2, 0)):  # last the ones that change the weights
        same = random_flow()
        same.load_state_dict({k: v for k, v in flow.state_dict().items() if "label" not in k})
        for own, told in zip(couplings(same), couplings(flow), strict=True):
            own.inner[0].bias += 0 if of is None else told.label.table.weight[of]
        alone, its = same(x[[row]])
        torch.testing.assert_close((z[[row]], volume[[row]]), (alone, its))
    generator = MLPGenerator((1, 2, 2), 3, 8, classes=2)
    made = generator(x[:, 0, 0, :3], label, drop)
    assert torch.equal(made[1], generator(x[:, 0, 0, :3])[1])
    assert not torch.equal(made[0], generator(x[:, 0, 0, :3])[0])


def couplings(flow: CouplingFlow) -> list[Any]:
    return [each for part in (flow.first, flow.middle, flow.last) for each in part]


def test_the_bound_of_a_flow_is_below_the_probability_of_its_levels():
    """A flow that leaves all as it is, by fine quadrature over the bin of each of four levels."""
    model = NormalizingFlow(CouplingFlow((1, 4, 4), depth=1, width=2), Decoder(0.0, 3.0, 4))  # the identity
    x = torch.randint(4, (5, 1, 4, 4))
    bound = torch.stack([model.log_prob(x, Random(0).fold(i)) for i in range(60)]).detach()
    u = (torch.arange(4)[:, None] + (torch.arange(2000) + 0.5) / 2000) / 4  # of every level
    inside = 0.05 + 0.9 * u.double()
    density = (-0.5 * inside.logit().square()).exp() / math.sqrt(2 * math.pi) * 0.9 / (inside * (1 - inside))
    exact = (density.mean(1) / 4).log()[x].flatten(1).sum(1)
    wanted = (density.log().mean(1) - math.log(4))[x].flatten(1).sum(1)
    assert bool((wanted < exact).all())
    assert bool(((bound.mean(0) - wanted).abs() < 4.5 * bound.std(0) / 60**0.5).all())
    drawn = model.decode(Random(1).normal((2000, 1, 4, 4)))
    seen = torch.bincount(drawn.flatten(), minlength=4) / drawn.numel()
    shares = (density.mean(1) / 4) + torch.tensor([1.0, 0, 0, 1]) * (1 - (density.mean(1) / 4).sum()) / 2  # the ends
    torch.testing.assert_close(seen.double(), shares, atol=0.02, rtol=0)


@pytest.mark.parametrize("kind", [FLOW, GAN], ids=["flow", "gan"])
def test_it_is_a_run_that_goes_on_where_it_stopped(kind: dict[str, Any], tmp_path: Path):
    kind = {**kind, "conditions": {"label": {"drop": 0.3}}}
    whole = undiffuse.train(tables(tmp_path, kind), out=tmp_path / "whole").run(progress=False)
    first = undiffuse.train(tables(tmp_path, kind), out=tmp_path / "run")
    for numbers in first:
        if numbers["step"] == 2:
            first.stop.signal = 15
    on = undiffuse.train(tables(tmp_path, kind), out=tmp_path / "run", resume=True).run(progress=False)
    weights = whole.module.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in on.module.state_dict().items())
    drawn = undiffuse.load(tmp_path / "run").sample(5, seed=2, label=[0, 1, 0, 1, 0])
    assert (drawn.dtype, drawn.labels.tolist()) == (torch.uint8, [0, 1, 0, 1, 0])
    assert torch.equal(drawn[[3]], on.sample(1, seed=2, indices=[3], label=1))
    game = kind["kind"] == "gan"
    how = Judge(metrics=("frechet",) if game else ("frechet", "nll"))
    report = on.evaluate(EvaluationRequest(request=SampleRequest(n=20), how=how))
    assert ("likelihood" in report.found.about) == (not game)
    assert game or report.found.about["likelihood"]["bound"]["bits_per_dim"] > 0
    with pytest.raises(
        Refused, match=r"steps: a .* draws z ~ N\(0, 1\) and decodes it once, without steps; .* its cond"
    ):
        on.sample(1, steps=3)


def test_both_players_move_by_the_optimiser_that_the_recipe_names():
    players = Adversarial(width=8).players(ImplicitModel(MLPGenerator((1, 2, 2), 3, 8)))
    assert [(player.name, player.optimiser) for player in players] == [("run", None), (PLAYER, None)]


def test_what_has_too_many_weights_or_no_condition_is_refused_in_words():
    with pytest.raises(Refused, match="an fvbn of 4,096 values with 256 numbers each would have 4,294,967,296 weights"):
        FVBN(shape=(1, 64, 64), outputs=256)
    with pytest.raises(Refused, match=r"has no 'label'; it has: none$"):
        raise unknown("the run's conditions", "label", ())


def test_the_game_is_the_non_saturating_one_with_its_penalty():
    model, batch = ImplicitModel(MLPGenerator((1, 2, 2), 3, 8)), Batch(torch.rand(6, 1, 2, 2))
    game = Adversarial(penalty=10.0, width=8)
    judge, z = game.discriminator(model), Random(0).normal((6, 3))
    fake = model(z).flatten(1)
    wanted = -torch.sigmoid(judge(fake)[:, 0]).log()
    torch.testing.assert_close(game.loss(model, batch, Random(0)), wanted)
    x = batch.x.flatten(1).requires_grad_()
    of_data = judge(x)[:, 0]
    slope = torch.autograd.grad(of_data.sum(), x, create_graph=True)[0]
    wanted = -F.logsigmoid(of_data) - F.logsigmoid(-judge(fake)[:, 0]) + 5 * slope.square().sum(1)
    found = game.loss(model, batch, Random(0), player=PLAYER)
    torch.testing.assert_close(found, wanted)
    found.mean().backward()
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(parameter.grad is not None for parameter in judge.parameters() if parameter.ndim > 1)


@pytest.mark.parametrize(
    ("kind", "changed", "message"),
    [
        (FLOW, {"network": {"name": "pixelcnn"}}, "network 'pixelcnn' predicts conditionals.*coupling_flow"),
        (FLOW, {"conditions": {"words": {"kind": "text"}}}, r"'coupling_flow' cannot take 'words', .* it takes label"),
        (GAN, {"conditions": {"words": {"kind": "text"}}}, r"'mlp_generator' cannot take 'words', .* it takes label"),
        (FLOW, {"network": {"name": "coupling_flow", "depth": 0}}, "depth of at least 1, not items of shape"),
        (GAN, {"codec": {"name": "levels"}}, "codec 'levels' is not for values, and a GAN is"),
        (GAN, {"codec": {"name": "whiten"}}, r"makes numbers from -1 to 1, and codec 'whiten' .*codec.name=pixels"),
        (GAN, {"objective": {"name": "maximum_likelihood"}}, "predicts likelihood, .* predicts game.*adversarial"),
        (GAN, {"objective": {"name": "adversarial", "penalty": -1.0}}, "a penalty of 0 or more, not -1"),
        (GAN, {"objective": {"name": "adversarial", "depth": 0}}, "objective.depth = 0: the discriminator needs"),
        (GAN, {"network": {"name": "mlp_generator", "latents": 0}}, "latents = 0: an mlp_generator needs at least 1"),
    ],
)
def test_what_they_cannot_be_is_refused(kind: dict[str, Any], changed: dict[str, Any], message: str, tmp_path: Path):
    with pytest.raises(Refused, match=message):
        undiffuse.train(tables(tmp_path, kind, **changed), out=tmp_path / "run")


def test_a_gan_has_no_likelihood_and_no_way_to_show(tmp_path: Path):
    made = undiffuse.train(tables(tmp_path, GAN, train={"steps": 1, "batch": 8}), out=tmp_path / "run")
    run = made.run(progress=False)
    with pytest.raises(Refused, match="a GAN makes samples and has no probability of an item"):
        run.evaluate(EvaluationRequest(how=Judge(metrics=("nll",))))
    with pytest.raises(Refused, match="a GAN draws at once: there is no way"):
        run.open(n=1).film()
    for option in ({"steps": 3}, {"temperature": 0.5}, {"condition_words": (("label", "3"),)}):
        with pytest.raises(Refused, match=f"{next(iter(option))}: a GAN draws z .* without steps and conditions"):
            run.sample(1, **option)
    with pytest.raises(Refused, match="run holds a GAN, which gives no item a probability: draw samples by"):
        scoring(tmp_path / "run")
