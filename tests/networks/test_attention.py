"""Attention and positions: every way to compute them is the plain formula, along any number of axes."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from undiffuse.core.derivative import derivative
from undiffuse.networks.attention import FEW, attention, cross_attention, self_attention
from undiffuse.networks.blocks import Attention
from undiffuse.networks.dit_blocks import CrossAttention, SelfAttention
from undiffuse.networks.positions import behind, coordinates, rotations, sines, turned

CPU = torch.device("cpu")


def plain(q: Tensor, k: Tensor, v: Tensor, there: Tensor | None = None) -> Tensor:
    """The softmax written out, in float64, keys that are not there left out."""
    near = torch.einsum("bhqd,bhkd->bhqk", q.double(), k.double()) / math.sqrt(q.shape[-1])
    weight = near.exp() if there is None else near.exp() * there
    return torch.einsum("bhqk,bhkd->bhqd", weight / weight.sum(-1, keepdim=True), v.double())


def hidden(batch: int, length: int) -> Tensor:
    there = torch.rand(batch, length) < 0.6
    there[:, 0] = True
    return there


@pytest.mark.parametrize("gradient", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_attention_is_a_plain_softmax(gradient: bool, masked: bool):
    q, k, v = (torch.randn(2, 3, 7, 4, requires_grad=gradient) for _ in range(3))
    there = hidden(2, 7)[:, None, None] if masked else None
    torch.testing.assert_close(attention(q, k, v, there).double(), plain(q, k, v, there), rtol=0, atol=1e-6)


@pytest.mark.parametrize("scores", [1, 40, 10**6])  # a query at a time, some of a head, all heads
@pytest.mark.parametrize("scale", [1.0, 30.0])  # exp of the greatest score would be infinite
@pytest.mark.parametrize("amx", [False, True])
def test_in_bfloat16_it_is_the_softmax_however_it_is_cut(
    monkeypatch: pytest.MonkeyPatch, scores: int, scale: float, amx: bool
):
    monkeypatch.setattr("undiffuse.networks.attention.LEAST", 0)
    monkeypatch.setattr("undiffuse.networks.attention.SCORES", scores)
    monkeypatch.setattr("undiffuse.networks.attention.AMX", amx)
    q, k, v = (torch.randn(2, length, 3, 4).bfloat16().transpose(1, 2) for length in (9, 11, 11))
    q, k = scale * q, scale * k
    found = attention(q, k, v)
    near = q.double() @ k.double().mT / 2
    assert found.dtype is torch.bfloat16
    assert (float(near.max()) > 89) == (scale > 1)
    torch.testing.assert_close(found.double(), near.softmax(-1) @ v.double(), rtol=0, atol=0.03)
    rest = torch.zeros(2, dtype=torch.float64)
    value, slope = derivative(lambda v, _: attention(q, k, v), v, rest, v, rest)  # linear in v
    torch.testing.assert_close(slope, value, rtol=0, atol=0.03)


@pytest.mark.parametrize(("length", "scale"), [(64, 1.0), (128, 30.0)])  # a few scores, and one item's are large
def test_in_bfloat16_an_item_is_the_same_in_any_batch(monkeypatch: pytest.MonkeyPatch, length: int, scale: float):
    monkeypatch.setattr("undiffuse.networks.attention.AMX", False)
    q, k, v = (torch.randn(5, 2, length, 8).bfloat16() for _ in range(3))
    q[2] *= scale
    together = attention(q, k, v)
    torch.testing.assert_close(together.double(), plain(q, k, v), rtol=0, atol=0.03)
    for i in range(5):
        assert torch.equal(attention(*(x[i : i + 1] for x in (q, k, v))), together[i : i + 1]), i


@pytest.mark.parametrize("length", [5, FEW + 1])
def test_the_formula_that_gradients_of_bfloat16_go_through_is_the_fused_kernel(length: int):
    parts: Any = [torch.randn(1, 2, length, 4, dtype=torch.bfloat16, requires_grad=True) for _ in range(3)]
    there = hidden(1, length)[:, None, None]
    q, k, v = parts
    exact = plain(q, k, v, there)
    torch.testing.assert_close(attention(q, k, v, there).double(), exact, rtol=0, atol=0.03)
    ours = torch.autograd.grad(attention(q, k, v, there).float().square().sum(), parts)
    wanted = torch.autograd.grad(exact.square().sum(), parts)
    for mine, theirs in zip(ours, wanted, strict=True):
        assert float((mine - theirs).norm() / theirs.norm()) < 0.03


@pytest.mark.parametrize("qk_norm", [False, True])
@torch.no_grad()
def test_the_layers_are_the_formula_with_their_weights(qk_norm: bool):
    layer, x = SelfAttention(8, 2, qk_norm, 1e-6), torch.randn(3, 5, 8)
    q, k, v = layer.qkv(x).unflatten(2, (3, 2, 4)).permute(2, 0, 3, 1, 4)
    if qk_norm:
        for norm in (layer.q_norm, layer.k_norm):
            norm.weight.copy_(torch.rand(4) + 0.5)  # type: ignore[union-attr]
        q, k = (
            x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * norm.weight
            for x, norm in ((q, layer.q_norm), (k, layer.k_norm))
        )
    wanted = layer.out(plain(q, k, v).float().transpose(1, 2).flatten(2))
    torch.testing.assert_close(layer(x, None, None), wanted, rtol=0, atol=1e-6)

    cross, text, there = CrossAttention(8, 2, 6), torch.randn(3, 4, 6), hidden(3, 4)
    assert not bool(cross(x, text, there).any())  # at the start
    nn.init.normal_(cross.out.weight)
    k, v = cross.kv(text).unflatten(2, (2, 2, 4)).permute(2, 0, 3, 1, 4)
    q = cross.q(x).unflatten(2, (2, 4)).transpose(1, 2)
    wanted = cross.out(plain(q, k, v, there[:, None, None]).float().transpose(1, 2).flatten(2))
    torch.testing.assert_close(cross(x, text, there), wanted, rtol=0, atol=1e-5)
    changed = torch.where(there[..., None], text, torch.randn_like(text))
    assert torch.equal(cross(x, changed, there), cross(x, text, there))


@torch.no_grad()
def test_the_functions_that_all_networks_share():
    qkv, kv, there = torch.randn(2, 5, 24), torch.randn(2, 4, 16), hidden(2, 4)
    q, k, v = qkv.unflatten(2, (3, 2, 4)).permute(2, 0, 3, 1, 4)
    wanted = plain(q, k, v).transpose(1, 2).flatten(2).float()
    torch.testing.assert_close(self_attention(qkv, 2), wanted, rtol=0, atol=1e-6)
    k, v = kv.unflatten(2, (2, 2, 4)).permute(2, 0, 3, 1, 4)
    wanted = plain(q, k, v, there[:, None, None]).transpose(1, 2).flatten(2).float()
    torch.testing.assert_close(cross_attention(qkv[..., :8], kv, 2, there), wanted, rtol=0, atol=1e-6)
    layer, x = Attention(8, 0, 1e-6, 2), torch.randn(2, 8, 3, 2)
    nn.init.normal_(layer.out.weight)
    q, k, v = layer.qkv(layer.norm(x).flatten(2).mT).unflatten(2, (3, 2, 4)).permute(2, 0, 3, 1, 4)
    wanted = x + layer.out(plain(q, k, v).float().transpose(1, 2).flatten(2)).mT.unflatten(2, (3, 2))
    torch.testing.assert_close(layer(x), wanted, rtol=0, atol=1e-5)


def test_a_turned_query_and_key_know_their_distance_only():
    turns = rotations(coordinates([20], [], CPU), 8)
    q, k = (turned(torch.randn(1, 8).expand(20, 8), turns) for _ in range(2))
    near = q @ k.T
    for distance in (-3, 0, 7):
        diagonal = near.diagonal(distance)
        assert torch.allclose(diagonal, diagonal[:1].expand_as(diagonal), atol=1e-5)
    assert torch.allclose(q.norm(dim=1), q.norm(dim=1)[:1].expand(20))


def test_angles_know_the_distance_along_every_axis():
    """Of pairs as far apart along each of three axes, and of no others."""
    sizes = (3, 4, 2)
    turns = rotations(coordinates(sizes, sizes, CPU), 12)
    q, k = (turned(torch.randn(1, 12).expand(24, 12), turns) for _ in range(2))
    near = (q @ k.T).reshape(*sizes, *sizes)
    torch.testing.assert_close(near[0, 0, 0, 1, 2, 1], near[1, 1, 0, 2, 3, 1], rtol=0, atol=1e-5)
    different = [near[1, 1, 0, 2, 1, 0], near[1, 1, 0, 1, 2, 0], near[1, 1, 0, 1, 1, 1], near[1, 1, 0, 1, 1, 0]]
    assert len({round(float(each), 4) for each in different}) == 4


def test_another_size_spans_what_the_datas_size_does():
    """Twice as many places lie a quarter of a place off the old ones; the own size is as it is."""
    assert coordinates([3], [3], CPU)[0].tolist() == [0, 1, 2]
    assert coordinates([6], [3], CPU)[0].tolist() == [-0.25, 0.25, 0.75, 1.25, 1.75, 2.25]
    places = behind(coordinates([2, 2], [2, 2], CPU), 2)
    assert [axis.tolist() for axis in places] == [[-1, -2, 0, 0, 1, 1], [-1, -2, 0, 1, 0, 1]]


def test_the_table_of_sines_has_the_widths_axis_first():
    table = sines(coordinates([2, 3], [2, 3], CPU), 9)
    across, down = (torch.tensor([0.0, 1, 2, 0, 1, 2]), torch.tensor([0.0, 0, 0, 1, 1, 1]))
    frequencies = torch.tensor([1.0, 0.01])
    parts = [f(axis[:, None] * frequencies) for axis in (across, down) for f in (torch.sin, torch.cos)]
    torch.testing.assert_close(table, torch.cat([*parts, torch.zeros(6, 1)], dim=1), rtol=0, atol=1e-6)
