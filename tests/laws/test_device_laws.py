"""On another device everything runs there, and the host waits for it only where it must: a law over the registry."""

import inspect
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import tiny_autoencoder
import torch
from beartype.roar import BeartypeCallHintViolation
from pretend_device import MixedDevicesError, Reads, Remote, device, pretend
from registered import every, networks, settled
from tiny_models import LABEL, MODELS, WORDS, N
from torch import Tensor, nn

from undiffuse import likelihood
from undiffuse.codecs import Identity
from undiffuse.core import registry
from undiffuse.core.errors import Refused
from undiffuse.core.named_parts import each, to
from undiffuse.core.objective import Batch, Objective
from undiffuse.core.random import Random
from undiffuse.core.sample import sample, trajectory
from undiffuse.core.sampler import Sampler
from undiffuse.guidance.measurement import Measurement
from undiffuse.objectives.autoencoding import Autoencoding
from undiffuse.optimisers import AdamW
from undiffuse.recipes.settings import Train
from undiffuse.samplers import Ancestral
from undiffuse.training.batches import Batches
from undiffuse.training.step import Step


@pytest.fixture
def reads() -> Iterator[Reads]:
    with pretend() as found:
        yield found


def model(name: str) -> tuple[Any, Any]:
    """The model and its data, on the device."""
    make, x = MODELS[name]
    return make().to(device()), to(x, device())


def test_the_device_keeps_the_rules_of_an_accelerator(reads: Reads):
    """The host's tensors do not go with its own but as numbers and indices; what it has is not the host's for free."""
    there, here = torch.arange(3.0, device=device()), torch.ones(3)
    assert [(there + 1).device, (there + torch.tensor(1.0)).device, there[torch.tensor([0, 1])].device] == [
        device()
    ] * 3
    assert isinstance(torch.tensor([1.0], device=device()), Remote)
    assert not reads
    wrong: list[Callable[[], Any]] = [
        *(lambda: there + here, lambda: torch.cat([there, here]), lambda: here.add_(there), lambda: here[there.long()]),
        *(lambda: torch.stack([there.sum(), torch.tensor(1.0)]), lambda: torch.zeros(()).add_(there.sum())),
    ]
    for mix in wrong:
        with pytest.raises(MixedDevicesError):
            mix()
    costly: list[Callable[[], Any]] = [
        *(lambda: there.sum().item(), lambda: bool(there.any()), lambda: float(there[1]), there.tolist, there.cpu),
        *(lambda: there[there > 1], lambda: there.nonzero(), lambda: here.copy_(there), lambda: there[there > 1].cpu()),
    ]
    counts = []
    for read in costly:
        before = len(reads)
        read()
        counts.append(len(reads) - before)
    assert counts == [1] * 8 + [2]
    with pytest.raises((TypeError, RuntimeError)):
        there.numpy()


def waits(reads: Reads, run: Callable[[int], Any]) -> list[Reads]:
    """The reads of as many steps as `run` is told, of two numbers of them."""
    found = []
    for steps in (1, 3):
        reads.clear()
        run(steps)
        found.append(Reads(reads))
    return found


ADAPTIVE = {"rtol": 0.3, "atol": 0.3}  # fields of what chooses its steps by numbers, which it must read
MUST = {  # what spends less of the device than the waiting costs
    "cached": "calls the network only where a token changed",
    "token_classifier": "calls the classifier for the masks alone",
    "first_hitting": "calls the network at the moments when a token appears",
    "unmask": "calls the network only where a token appears",
    "particles": "calls the network again only where particles were drawn anew",
}
LIGHT: dict[str, Any] = {**ADAPTIVE, "updates": 1}


def lightened(sampler: Sampler) -> Any:
    """The sampler with settings that take few calls of the network."""
    fields = registry.fields(type(sampler))
    return replace(sampler, **{name: value for name, value in LIGHT.items() if name in fields})  # type: ignore[type-var]


def sampled_there(reads: Reads, denoiser: Any, sampler: Any, x: Any) -> list[Reads]:
    """The reads of 1 and of 3 steps; where samples may stand at times of their own, they do."""
    label = LABEL.to(device())

    def run(steps: int) -> None:
        times = torch.linspace(0.9, 0.1, steps + 1, dtype=torch.float64)
        if sampler.batch_times:
            times = times[:, None] * torch.tensor([1.0, 0.9, 0.8], dtype=torch.float64)
        *_, drawn = trajectory(denoiser, sampler, x, times, random=Random(0), label=label)
        assert each(lambda part: part.device, drawn) == each(lambda part: device(), x)

    with torch.no_grad():
        return waits(reads, run)


def test_sampling_starts_there(reads: Reads):
    for family in ("values", "tokens", "mixed"):
        denoiser, x = model(family)
        shape: Any = each(lambda part: tuple(part.shape), x)
        drawn = sample(denoiser, shape, steps=3)
        assert each(lambda part: part.device, drawn) == each(lambda part: device(), x)
    assert not reads


@pytest.mark.parametrize("family", ["values", "tokens", "mixed"])
def test_samplers(family: str, reads: Reads):
    """No step of a sampler waits, but where the step's size is chosen by an error."""
    denoiser, x = model(family)
    for sampler in settled(every("samplers", Sampler, family)):
        found = sampled_there(reads, denoiser, lightened(sampler), x)
        waiting = bool(ADAPTIVE.keys() & registry.fields(type(sampler)).keys()) or registry.name_of(sampler) in MUST
        assert waiting or found == [[], []], sampler


def log_prob(x: Tensor, t: Any, label: Tensor) -> Tensor:
    return -0.5 * (x.double() - label[:, None]).square().flatten(1).sum(1)


def guided(family: str, name: str) -> Any:
    """The guidance of a name on the model of a family, made of what its fields are called."""
    denoiser, x = model(family)
    half = torch.tensor([1.0, 0.0], device=device())
    needed: dict[str, Any] = {
        "denoiser": denoiser,
        "base": denoiser,
        "reference": model(family)[0],
        "experts": [model(family)[0]],
        "sampler": Ancestral(),
        "classifier": log_prob,
        "score": lambda mean: -mean.square().sum(1),
        "log_likelihood": lambda x, s: -x.square().sum(1),
        "nearest": torch.round,
        "known": x,
        "mask": half,
        "where": half > 0,
        "allowed": [{0}, {0, 1}],
        "measurement": Measurement(lambda x: x.sum(1, keepdim=True), torch.tensor([[0.5]], device=device()), 0.3),
        "size": (2,),
        "bounds": (-1.0, 1.0),
        "times": (0.5, 1.0),
        "variances": (0.1, 0.6),
    }
    wanted: dict[str, Any] = {"weight": 0.5, "percentile": 0.9, "temperature": 0.7, "top_k": 2, "top_p": 0.9, "jump": 1}
    wanted |= {"count": N, "interval": (0.01, 50.0), "resample": 2, "updates": 1}
    if family == "values":
        wanted |= {"rescale": 0.5, "parallel": 0.5, "largest": 2.0}
    found = registry.get("guidance", name)
    fields = registry.fields(found)
    given = {field: value for field, value in wanted.items() if field in fields}
    return found(**given, **{f: needed[f] for f, p in fields.items() if p.default is p.empty and f not in given})


@pytest.mark.parametrize("name", registry.names("guidance"))
def test_guidance(name: str, reads: Reads):
    for family in sorted(registry.get("guidance", name).families - {"mixed"}):  # type: ignore[attr-defined]
        denoiser, x = model(family)
        made = guided(family, name)
        steered = isinstance(made, Sampler)
        found = sampled_there(reads, denoiser if steered else made, made if steered else Ancestral(), x)
        solves = registry.fields(type(made)).keys() & {"iterations"} and made.iterations > 1  # until it is solved
        assert name in MUST or solves or found == [[], []]


@pytest.mark.parametrize("name", registry.names("networks"))
def test_networks(name: str, reads: Reads):
    for network, given in networks(name):
        network.to(device()).train()
        found = network(*(each.to(device()) for each in given))
        for part in found if isinstance(found, tuple) else (found,):
            part.square().mean().backward(retain_graph=True)
        assert {p.grad.device for p in network.parameters() if p.grad is not None} == {device()}
    assert not reads


NO_FIT = (Refused, TypeError, AttributeError, RuntimeError, ValueError, LookupError, BeartypeCallHintViolation)


def batch(which: str, x: Any, onto: torch.device | str = "cpu") -> Batch:
    label, drop = LABEL.to(onto), torch.tensor([False, True, False]).to(onto)
    cond = {"label": label} if which in ("label", "item") else {"label": label, "drop": drop}
    cond = {"text": WORDS.to(onto)} if which == "pair" else cond
    return Batch(x, cond, codec=SimpleNamespace(lossy=True, features=lambda z: [z, z[:, :1] ** 2]))


@pytest.mark.parametrize("objective", every("objectives", Objective), ids=registry.name_of)
def test_objectives(objective: Objective):
    """On every model that it works with on the CPU, of which there is one; no loss waits, nor does its gradient."""
    ran = 0
    for which, (make, x) in MODELS.items():
        torch.manual_seed(0)
        try:
            wanted = objective.loss(make(), batch(which, x), Random(0))
        except NO_FIT:
            continue  # it trains something else
        ran += 1
        with pretend() as reads:
            torch.manual_seed(0)
            trained = make().to(device())
            objective.to(device())
            loss = objective.loss(trained, batch(which, to(x, device()), device()), Random(0))
            loss.mean().backward()
            assert loss.device == device()
            assert not reads, which
            torch.testing.assert_close(loss.detach().cpu(), wanted.detach())
            objective.to(torch.device("cpu"))
    assert ran


@pytest.mark.parametrize("name", registry.names("losses"))
def test_losses(name: str):
    """Of every player; a loss that holds a network moves it."""
    term = tiny_autoencoder.loss(name)
    found: list[list[Tensor]] = []
    with pretend() as reads:
        for onto in (torch.device("cpu"), device()):
            autoencoder, x = tiny_autoencoder.autoencoder().to(onto), tiny_autoencoder.IMAGES.to(onto)
            objective = Autoencoding((term,))
            players = objective.players(autoencoder)
            objective.to(onto)
            for module in (module for player in players for module in player.modules):
                module.to(onto)
            losses = [objective.loss(autoencoder, Batch(x), Random(0), 1000, player.name) for player in players]
            torch.stack(losses).sum().backward()
            assert {loss.device for loss in losses} == {onto}
            assert not reads
            found.append([loss.detach().cpu() for loss in losses])
            reads.clear()
        objective.to(torch.device("cpu"))
        for module in (module for player in players for module in player.modules):  # other tests use it too
            module.to(torch.device("cpu"))
    torch.testing.assert_close(*found)


def of_denoisers() -> list[str]:
    """The names of the likelihoods that are asked of a denoiser."""
    named = {name: getattr(likelihood, name) for name in likelihood.__all__}
    found = {name: inspect.signature(each).parameters for name, each in named.items() if inspect.isfunction(each)}
    return [name for name, known in found.items() if "vae" not in known]


@pytest.mark.parametrize("name", of_denoisers())
def test_likelihoods(name: str, reads: Reads):
    """More times cost no more reads; an ODE's solver chooses its steps by numbers, which it must read."""
    function, ran = getattr(likelihood, name), 0
    known, adaptive = inspect.signature(function).parameters, function.__module__.endswith(".ode")
    for which in ("values", "tokens", "mixed", "embeddings"):
        denoiser, x = model(which)

        def run(steps: int, denoiser: Any = denoiser, x: Any = x) -> None:
            how: dict[str, Any] = {"points": steps} if "points" in known else {"times": torch.linspace(1, 0, steps + 1)}
            function(denoiser, x, **(ADAPTIVE if adaptive else how))

        try:
            found = [] if adaptive else waits(reads, run)
            if adaptive:
                run(1)
        except Refused:
            continue  # it is for something else
        ran += 1
        assert all(each == found[0] for each in found), which
    assert ran


class Alone(SimpleNamespace):
    """The part of an accelerator's interface that one process asks for."""

    num_processes, process_index = 1, 0

    def backward(self, loss: Tensor) -> None:
        loss.backward()

    def clip_grad_norm_(self, parameters: Any, most: float) -> Tensor:
        return nn.utils.clip_grad_norm_(parameters, most)


def test_training_steps(reads: Reads):
    trained, x = model("plain")
    data = Batches(x, {"label": LABEL.to(device())}, Identity(), 2, Random(0), drop=0.5, device=device())
    accelerator: Any = Alone(device=device())
    step = Step(
        accelerator, trained, registry.build("objectives", {"name": "denoising"}), data, Train(4, batch=2), AdamW()
    )
    before = [p.detach().clone() for p in trained.parameters()]
    for i in range(3):
        found = step.gradient(i)
        step.update(i)
    assert found.device == device()
    assert not reads
    assert any(not torch.equal(p, old) for p, old in zip(trained.parameters(), before, strict=True))
