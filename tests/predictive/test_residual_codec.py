"""Residuals: the paper's posterior to the last digit, what the regressor adds, and what is refused."""

import numpy as np
import pytest
import torch
from torch import Tensor

from undiffuse.codecs.residual import FITTED, INPUTS, ResidualCodec
from undiffuse.core.errors import Refused
from undiffuse.core.item_reader import ItemReader
from undiffuse.core.process.gaussian import Gaussian
from undiffuse.networks.mlp import MLP
from undiffuse.schedules import LinearBeta

RANDOM = np.random.default_rng(0)
X = RANDOM.uniform(-2, 2, size=(500, 2)).astype(np.float32)
Y = (3 * X[:, :1] - X[:, 1:] + 40 + 0.5 * RANDOM.standard_normal((500, 1))).astype(np.float32)


class Line(ItemReader):
    """f(x) = 3 x_0 - x_1 + 40."""

    @property
    def columns(self) -> tuple[str, ...]:
        return ("a", "b")

    @property
    def targets(self) -> tuple[str, ...]:
        return ("y",)

    def told_of(self, rows: Tensor, learned: bool = False) -> Tensor:
        return (3 * rows[:, :1] - rows[:, 1:] + 40).double()


def test_its_bridge_is_the_paper_s_posterior():
    """q(y_{t-1} given y_t, y_0, f) = N(g_0 y_0 + g_1 y_t + g_2 f, ...) of arXiv:2206.07275, for residuals y - f."""
    process = Gaussian(LinearBeta())
    beta = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    after = (1 - beta).cumprod(0)
    before = torch.cat([torch.ones(1, dtype=torch.float64), after[:-1]])
    g_0 = beta * before.sqrt() / (1 - after)
    g_1 = (1 - before) * (1 - beta).sqrt() / (1 - after)
    g_2 = 1 + (after.sqrt() - 1) * ((1 - beta).sqrt() + before.sqrt()) / (1 - after)
    assert torch.allclose(g_0 + g_1 + g_2, torch.ones(1000, dtype=torch.float64), atol=1e-12, rtol=0)
    found = [float(each[500]) for each in (g_0, g_1, g_2)]
    assert found == pytest.approx([0.003058057, 0.994104351, 0.002837592], abs=5e-10)
    y_0, f, y_t = (torch.tensor([[v]], dtype=torch.float64) for v in (1.3, -0.4, 0.7))
    for step in (1, 2, 250, 500, 1000):
        t, s = torch.tensor(step / 1000, dtype=torch.float64), torch.tensor((step - 1) / 1000, dtype=torch.float64)
        mean = process.bridge(y_t - f, process.point(y_0 - f), s, t).mean + f
        i = step - 1
        assert abs(float(mean - (g_0[i] * y_0 + g_1[i] * y_t + g_2[i] * f))) < 1e-12, step
        noisy = process.marginal(y_0 - f, t)  # y_t - f = alpha (y_0 - f) + sigma noise
        forward = after[i].sqrt() * y_0 + (1 - after[i].sqrt()) * f
        assert abs(float(noisy.mean + f - forward)) < 1e-12, step


def fitted(**fields: str) -> ResidualCodec:
    given: dict = {"columns": ("a", "b"), "targets": ("y",), **fields}
    return ResidualCodec(Line(), **given).fit(Y, inputs=X)


def test_what_the_regressor_leaves_is_encoded_and_comes_back():
    codec = fitted()
    cond = codec.added(torch.from_numpy(X))
    assert codec.reads == INPUTS
    assert codec.adds == {FITTED: ("vector", (1,))}
    z = codec.encode(Y, **cond)
    expected = (Y - Line().told_of(torch.from_numpy(X)).numpy()) / Y.std()
    np.testing.assert_allclose(z.numpy(), expected, atol=1e-5)
    np.testing.assert_allclose(codec.decode(z, **cond).numpy(), Y, atol=1e-5)
    assert codec.log_det((1,)) == pytest.approx(-np.log(Y.std()), abs=1e-6)
    assert codec.decode(torch.zeros(500, 1), **cond).numpy() == pytest.approx(Y - Y.std() * z.numpy(), abs=1e-4)
    ours = fitted(scale="residual")
    assert float(ours.encode(Y, **cond).square().mean()) == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(ours.decode(ours.encode(Y, **cond), **cond).numpy(), Y, atol=1e-5)


def test_without_a_regressor_it_standardises():
    codec = ResidualCodec().fit(Y)
    assert (codec.reads, codec.adds, codec.added(torch.from_numpy(X))) == ("", {}, {})
    np.testing.assert_allclose(codec.encode(Y).numpy(), (Y - Y.mean()) / Y.std(), atol=1e-5)
    np.testing.assert_allclose(codec.decode(codec.encode(Y)).numpy(), Y, atol=1e-5)


@pytest.mark.each(
    ("make", "message"),
    [
        (lambda: ResidualCodec(Line(), columns=("a", "c"), targets=("y",)).fit(Y, inputs=X), r"reads \[a, b\], and"),
        (lambda: ResidualCodec(Line(), columns=("a", "b"), targets=("z",)).fit(Y, inputs=X), r"tells \[y\], and these"),
        (lambda: fitted().encode(Y), "beside their condition 'inputs': give it"),
        (lambda: ResidualCodec().encode(Y), "residual is not fitted"),
        (lambda: ResidualCodec(mean=(0.0,)), "as many std and spread as mean"),
        (lambda: ResidualCodec(mean=(0.0,), std=(0.0,), spread=(1.0,)), "std and spread above 0"),
        (lambda: ResidualCodec().fit(Y).encode(X), "residual was fitted to 1 targets"),
    ],
)
def test_what_it_refuses(make, message: str):
    with pytest.raises(Refused, match=message):
        make()


def test_few_rows_widen_their_conditions_at_the_rate_of_one_column():
    assert fitted().blurs == pytest.approx({INPUTS: 3.4 * 500 ** (-1 / 5), FITTED: 1.06 * 500 ** (-1 / 5)})
    assert ResidualCodec().fit(Y).blurs == {}
    torch.manual_seed(0)
    conditions: dict = {"a": ("vector", (2,)), "b": ("vector", (1,))}
    network = MLP(1, width=8, depth=1, conditions=conditions, blur={"a": 0.5})
    x, time, a = (torch.ones(400, n, dtype=torch.float32) for n in (1, 1, 2))
    given = {"x": x, "c_time": time[:, 0], "b": x}
    assert network.eval()(**given, a=a).std() < 1e-6
    assert network.train()(**given, a=a).std() > 0.01
    assert network(**given).std() < 1e-6
    with pytest.raises(Refused, match="an MLP needs dropout from 0 to below 1 and blur of 0 or more, not 2 and None"):
        MLP(1, dropout=2)
