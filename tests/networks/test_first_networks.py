"""The networks of arXiv:1503.03585: a readout for each noise level, bumps for points, sigmoids for tokens."""

import pytest
import torch

from undiffuse.core.errors import Refused
from undiffuse.networks.rbf import RBF
from undiffuse.networks.readouts import Readout
from undiffuse.networks.token_mlp import TokenMLP

TIMES = torch.tensor([0.0, 1.0, 2.5, 7.0, 9.0])


def different(readout: Readout) -> Readout:
    torch.nn.init.normal_(readout.every.weight)
    torch.nn.init.normal_(readout.every.bias)
    return readout


def test_every_level_has_a_matrix_of_its_own_and_between_two_it_is_their_mean():
    readout, h = different(Readout(4, 3, levels=10)), torch.randn(1, 4)
    each = readout.every(h).view(10, 3)
    for level in range(10):
        torch.testing.assert_close(readout(h, torch.tensor([float(level)]))[0], each[level])
    torch.testing.assert_close(readout(h, torch.tensor([2.5]))[0], (each[2] + each[3]) / 2)
    torch.testing.assert_close(readout(h, torch.tensor([50.0]))[0], each[9])


def test_fewer_matrices_are_denser_near_the_data():
    readout, h = different(Readout(4, 2, levels=101, count=11)), torch.randn(1, 4)
    each = readout.every(h).view(11, 2)
    for which in range(11):
        torch.testing.assert_close(readout(h, torch.tensor([float(which**2)]))[0], each[which], rtol=1e-4, atol=1e-5)
    assert Readout(4, 2, levels=0).count == 32
    assert Readout(4, 2, levels=1)(h, torch.tensor([0.0])).shape == (1, 2)


def test_all_levels_start_alike():
    readout, h = Readout(4, 3, levels=10), torch.randn(1, 4).expand(5, 4)
    torch.testing.assert_close(readout(h, TIMES), readout(h[:1], TIMES[:1]).expand(5, 3))


def test_bumps_vote_and_samples_do_not_see_each_other():
    network, x = RBF(channels=2, noise_levels=10), torch.randn(5, 2)
    different(network.readout)
    apart = torch.cat([network(x[i : i + 1], TIMES[i : i + 1]) for i in range(5)])
    torch.testing.assert_close(network(x, TIMES), apart, rtol=1e-4, atol=1e-5)
    far = 1e3 * torch.tensor([[0.6, 0.8]])  # there one bump has all votes, and nothing depends on the place any more
    torch.testing.assert_close(network(far, TIMES[:1]), network(2 * far, TIMES[:1]))
    assert RBF(channels=2, out_channels=4)(x, TIMES).shape == (5, 4)
    assert RBF(channels=1, out_channels=2, shape=(1, 3, 3))(torch.randn(5, 1, 3, 3), TIMES).shape == (5, 2, 3, 3)


def test_sigmoids_read_tokens_and_classes():
    network = TokenMLP(vocabulary=3, shape=(4,), noise_levels=10, classes=2, width=8, depth=2)
    different(network.readout)
    x, label = torch.tensor([[0, 1, 2, 0]]).expand(5, 4), torch.tensor([0, 1, 0, 1, 0])
    logits = network(x, TIMES)
    assert logits.shape == (5, 4, 3)
    assert not torch.allclose(network(x.flip(1), TIMES), logits)
    hidden = torch.ones(5, dtype=torch.bool)
    assert torch.equal(network(x, TIMES, label=label, drop=hidden), logits)
    network.label.table.weight.data.fill_(0.5)  # pyright: ignore[reportOptionalMemberAccess]
    assert not torch.allclose(network(x, TIMES, label=label), logits)


@pytest.mark.parametrize("make", [lambda: RBF(noise_levels=10), lambda: TokenMLP(3, (4,), 10)], ids=["rbf", "tokens"])
def test_a_gradient_reaches_every_parameter(make):
    network = make()
    x = torch.randn(5, 2) if isinstance(network, RBF) else torch.tensor([[0, 1, 2, 0]] * 5)
    (network(x, TIMES) * torch.arange(1, 6).view(5, *(1,) * (network(x, TIMES).ndim - 1))).square().sum().backward()
    assert [n for n, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TokenMLP(), "token_mlp is for tokens: it needs process.name = 'categorical'"),
        (lambda: TokenMLP(2, (4,), width=0), r"token_mlp needs width, depth and a length of at least 1, not 0, 3 and"),
        (
            lambda: TokenMLP(2, (4,))(torch.zeros(1, 5, dtype=torch.int64), TIMES[:1]),
            r"takes items of shape \(4,\), not",
        ),
        (lambda: RBF(bumps=0), "an RBF network needs at least 1 bump and 1 number a sample, not 0 and 2"),
        (lambda: RBF()(torch.zeros(1, 3), TIMES[:1]), r"this RBF network takes 2 numbers a sample, not \(3,\)"),
        (lambda: Readout(4, 2, -1), "a readout needs noise_levels and readouts of 0 or more, not -1 and 0"),
    ],
)
def test_what_makes_no_network_is_refused(make, message: str):
    with pytest.raises(Refused, match=message):
        make()
