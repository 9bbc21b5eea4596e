"""Objectives with players, state and phases, any optimiser, and a person's own module and data: all of it resumes."""

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import players
import pytest
import tiny_run as tiny
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset, WeightedRandomSampler

from undiffuse import Train, Training
from undiffuse.core.errors import Refused
from undiffuse.core.objective import Objective, Player
from undiffuse.core.random import Random
from undiffuse.objectives import Denoising
from undiffuse.optimisers.by_name import optimiser, torch_optimisers
from undiffuse.training import checkpoint


def interrupted(folder: Path, stop: int, *given: Any, **settings: Any) -> Training[nn.Module]:
    """A run that stops after so many steps, and goes on in a new object."""
    first = players.training(given[0], folder, *given[1:], **settings)
    for _ in itertools.islice(first, stop):
        pass
    first.save()
    first._keeper.wait()
    again = players.training(given[0], folder, *given[1:], **settings).resume()
    assert again.step == stop
    again.run(progress=False)
    return again


@pytest.mark.parametrize("name", ["progressive", "critic", "eager critic", "contrastive"])
def test_a_resumed_run_is_the_uninterrupted_one(tmp_path: Path, name: str):
    whole = players.training(name, tmp_path / "whole")
    whole.run(progress=False)
    interrupted(tmp_path / "parts", 5, name)
    tiny.same(tmp_path / "whole", tmp_path / "parts")
    held = tiny.tensors(tmp_path / "whole")
    if name == "progressive":
        assert int(held["objective.phases"]) == 2
        assert not torch.equal(held["objective.teacher.0.weight"], players.net().state_dict()["0.weight"])


def test_a_critic_moves_every_second_step_and_nobody_moves_another(tmp_path: Path):
    run = players.training("critic", tmp_path / "run")
    critic: Any = run.objective
    critic = critic.critic
    for numbers in run:
        assert ("loss_critic" in numbers) == (numbers["step"] % 2 == 0)
        if numbers["step"] == 1:
            before = [p.clone() for p in critic.parameters()]
            assert all(p.grad is None and p.requires_grad for p in [*critic.parameters(), *run.module.parameters()])
        if numbers["step"] == 2:
            assert all(not torch.equal(p, b) for p, b in zip(critic.parameters(), before, strict=True))
            break


def test_updates_of_a_player_come_before_the_gradient_of_others_each_with_draws_of_its_own(tmp_path: Path):
    """Three updates are three steps of its optimiser; all but the last are taken when the run's gradient is."""
    run = players.training("eager critic", tmp_path / "run")
    objective: Any = run.objective
    weight, seen = objective.critic[0].weight, []
    loss = objective.loss

    def noted(model: Any, batch: Any, random: Any, step: int = 0, player: str = "run") -> Any:
        seen.append((step, player, random.seed, weight.detach().clone(), model[0].weight.detach().clone()))
        return loss(model, batch, random, step, player)

    object.__setattr__(objective, "loss", noted)
    for _ in itertools.islice(run, 2):
        pass
    assert [(step, player) for step, player, *_ in seen] == [
        (0, "run"),
        *[(1, "critic")] * 2,
        (1, "run"),
        (1, "critic"),
    ]
    _, early, later, own, last = seen
    assert len({early[2], later[2], last[2]}) == 3
    assert own[2] == last[2]
    assert not torch.equal(early[3], later[3])
    assert not torch.equal(later[3], own[3])
    assert torch.equal(own[3], last[3])
    assert all(torch.equal(each[4], own[4]) for each in (early, later, last))


def test_a_run_starts_from_the_weights_that_its_objective_says():
    teacher = nn.Linear(2, 2)
    settings = Train(steps=1, batch=4)
    run = Training(nn.Linear(2, 2), players.Progressive(teacher), TensorDataset(torch.zeros(8, 2)), settings)
    assert all(torch.equal(a, b) for a, b in zip(run.module.parameters(), teacher.parameters(), strict=True))
    with pytest.raises(Refused, match="the objective's start"):
        Training(nn.Linear(2, 3), players.Progressive(teacher), TensorDataset(torch.zeros(8, 2)), settings)


class Wrong(Objective):
    def __init__(self, *made: Player) -> None:
        self.made = made

    def players(self, model: nn.Module) -> tuple[Player, ...]:
        return tuple(replace(p, modules=p.modules or (model,)) for p in self.made)

    def loss(self, model: Any, batch: Any, random: Any, step: int = 0, player: str = "run") -> Any: ...


@pytest.mark.parametrize(
    ("made", "message"),
    [
        ((), "one, 'run', has the trained module; these are: none"),
        ((Player("critic", ()),), "these are: critic"),
        ((Player("run", ()), Player("run", ())), "these are: run, run"),
        (
            (Player("run", (), every=2),),
            "player 'run' cannot take 1 updates every 2 steps from step 0 on: the run takes one in every step",
        ),
        ((Player("run", (), updates=2),), "player 'run' cannot take 2 updates every 1"),
        ((Player("run", ()), Player("critic", (nn.Linear(1, 1),), every=0)), "player 'critic' cannot .* every 0 steps"),
        ((Player("run", ()), Player("critic", (nn.Linear(1, 1),), start=-1)), "'critic' .* every 1 steps from step -1"),
        ((Player("run", ()), Player("critic", (nn.Linear(1, 1),), updates=0)), "'critic' cannot take 0 updates"),
    ],
)
def test_players_that_make_no_sense_are_refused(made: tuple[Player, ...], message: str):
    with pytest.raises(Refused, match=message):
        Training(nn.Linear(2, 2), Wrong(*made), TensorDataset(torch.zeros(8, 2)), Train(steps=1))


@pytest.mark.parametrize("name", sorted({*torch_optimisers(), "muon"}))
def test_every_optimiser_trains_and_resumes_bit_for_bit(tmp_path: Path, name: str):
    moves = optimiser({"name": name})
    whole = players.training("contrastive", tmp_path / "whole", moves)
    whole.run(progress=False)
    assert not torch.equal(next(whole.module.parameters()), next(players.net().parameters()))
    interrupted(tmp_path / "parts", 3, "contrastive", moves)
    tiny.same(tmp_path / "whole", tmp_path / "parts")


def test_muon_is_that_of_pytorch_to_its_16_bits():
    ours, theirs = (nn.Parameter(Random(9).normal((6, 20))) for _ in range(2))
    fields: dict[str, Any] = {"momentum": 0.9, "weight_decay": 0.1}
    moves = optimiser({"name": "muon", **fields}).over([ours], lr=0.1)
    peer = torch.optim.Muon([theirs], lr=0.1, adjust_lr_fn="match_rms_adamw", **fields)
    for step in range(3):
        ours.grad, theirs.grad = (Random(step).normal((6, 20)) for _ in range(2))
        moves.step()
        peer.step()
    assert torch.allclose(ours, theirs, atol=0.01)
    assert not torch.allclose(ours, Random(9).normal((6, 20)), atol=0.1)


@pytest.mark.parametrize("form", [torch.contiguous_format, torch.channels_last])
def test_muon_moves_kernels_as_matrices_and_vectors_by_adamw(form: torch.memory_format):
    """The first step of momentum m goes along U V^T of m = U S V^T, of AdamW by lr in every number."""
    kernel, bias, depthwise = (nn.Parameter(torch.zeros(shape)) for shape in ((6, 3, 3, 3), (6,), (6, 1, 1, 1)))
    kernel = nn.Parameter(kernel.detach().to(memory_format=form))
    gradients = [Random(i).normal(tuple(p.shape)) for i, p in enumerate((kernel, bias, depthwise))]
    moves = optimiser({"name": "muon"}).over([kernel, bias, depthwise], lr=0.1)
    for parameter, gradient in zip((kernel, bias, depthwise), gradients, strict=True):
        parameter.grad = gradient
    moves.step()
    u, _, v = torch.linalg.svd(gradients[0].flatten(1), full_matrices=False)
    step = -kernel.detach().flatten(1) / (0.1 * 0.2 * 27**0.5)  # AdamW's size: 0.2 sqrt(the longer side)
    assert ((u.T @ step @ v.T).diagonal() - 1).abs().max() < 0.4  # singular values between 0.6 and 1.4
    off = u.T @ step @ v.T
    assert (off - off.diagonal().diag()).abs().max() < 1e-4
    assert torch.allclose(step, u @ u.T @ step @ v.T @ v, atol=1e-4)
    for parameter, gradient in ((bias, gradients[1]), (depthwise, gradients[2])):
        assert torch.allclose(parameter, -0.1 * gradient.sign(), atol=1e-6)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"name": "adamv"}, r"optimisers has no 'adamv' \(did you mean 'adam"),
        ({"name": "sgd", "momentun": 0.9}, r"optimiser 'sgd' has no 'momentun' \(did you mean 'momentum'\?\)"),
        ({"name": "sgd", "momentum": -1.0}, "optimiser 'sgd': Invalid momentum value: -1.0"),
        ({"name": "sgd", "lr": 0.1}, "write train.lr, not optimiser.lr"),
        ({"name": "muon", "momentum": 1.0}, "optimiser.momentum must be 0 or more and below 1, and weight_decay 0 or"),
        ({"name": "adamw", "weight_decay": -1.0}, "optimiser.weight_decay and eps must be 0 or more, not -1"),
    ],
)
def test_an_optimiser_that_makes_no_sense_is_refused(table: dict[str, Any], message: str):
    with pytest.raises(Refused, match=message):
        optimiser(table)


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Any:
        return iter([])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (Stream(), "takes a torch Dataset with __len__ and __getitem__, or a DataLoader of one"),
        ([True, False], "an item of the data is torch.bool: convert it"),
        (TensorDataset(torch.zeros(0, 2)), "the Dataset has no items"),
        (DataLoader(TensorDataset(torch.zeros(8, 2)), batch_size=4), "batches of 4, and Train of 2: make them equal"),
        (
            DataLoader(TensorDataset(torch.zeros(8, 2)), 2, sampler=WeightedRandomSampler([1.0] * 8, 8)),
            "has a sampler of its own, WeightedRandomSampler",
        ),
        (TensorDataset(torch.zeros(8, 2, dtype=torch.uint8)), "an item of the data is torch.uint8: convert it"),
        ([{"y": torch.zeros(2)}] * 4, "needs 'x', the data; this one has: y"),
        ([(torch.zeros(2),) * 3] * 4, r"an item is a tensor, \(tensor, label\), or a dictionary"),
    ],
)
def test_data_that_cannot_be_trained_on_are_refused(data: Any, message: str):
    with pytest.raises(Refused, match=message):
        Training(nn.Linear(2, 2), players.Contrastive(), data, Train(steps=1, batch=2)).data.at(0)


def test_what_is_no_module_or_no_objective_is_refused():
    with pytest.raises(Refused, match=r"Training takes a torch.nn.Module, an objective such as"):
        Training(nn.Linear(2, 2), Denoising, TensorDataset(torch.zeros(8, 2)), Train(steps=1))  # type: ignore[arg-type]


def test_what_could_learn_nothing_is_refused_and_a_folder_may_be_a_text(tmp_path: Path):
    net, data, settings = nn.Linear(2, 2), TensorDataset(torch.zeros(8, 2)), Train(steps=1, batch=2)
    with pytest.raises(Refused, match=r"the settings of Training are undiffuse.Train\(steps=1000\), say, not {}"):
        Training(net, players.Contrastive(), data, {})  # type: ignore[arg-type]
    with torch.inference_mode(), pytest.raises(Refused, match="training needs gradients"):
        Training(net, players.Contrastive(), data, settings)
    with pytest.raises(Refused, match="the module has no weights to train: all are frozen"):
        Training(nn.Linear(2, 2).requires_grad_(False), players.Contrastive(), data, settings)
    assert Training(net, players.Contrastive(), data, settings, folder=str(tmp_path)).folder == tmp_path


def test_a_folder_that_holds_a_run_is_not_trained_over(tmp_path: Path):
    players.training("contrastive", tmp_path / "run", steps=2).run(progress=False)
    assert checkpoint.newest(tmp_path / "run") is not None
    with pytest.raises(Refused, match=r"holds a run: go on with training.resume\(\)"):
        players.training("contrastive", tmp_path / "run").run(progress=False)


def test_labels_and_dictionaries_are_conditions_and_an_items_own_chances_are_keyed():
    class Jittered(torch.utils.data.Dataset[Any]):
        def __len__(self) -> int:
            return 6

        def __getitem__(self, index: int) -> Any:
            return {"x": torch.randn(2), "label": index}

    run = Training(nn.Linear(2, 2), players.Contrastive(), Jittered(), Train(steps=1, batch=4))
    one, other = run.data.at(2), run.data.at(2)
    assert torch.equal(one.x, other.x)
    assert one.cond["label"].shape == (4,)
    assert not torch.equal(one.x, run.data.at(3).x)
    loader = DataLoader(TensorDataset(torch.arange(6.0), torch.arange(6)), batch_size=4, shuffle=True)
    pair = Training(nn.Linear(2, 2), players.Contrastive(), loader, Train(steps=1, batch=4)).data.at(0)
    assert torch.equal(pair.x.long(), pair.cond["label"])


def test_workers_of_a_loader_are_left_out_with_a_word(caplog: pytest.LogCaptureFixture):
    loader = DataLoader(TensorDataset(torch.arange(6.0), torch.arange(6)), batch_size=2, num_workers=1)
    Training(nn.Linear(2, 2), players.Contrastive(), loader, Train(steps=1, batch=2))
    assert "num_workers = 1 of the DataLoader is left out: items are read in this process" in caplog.text


def test_a_module_that_the_objective_cannot_train_is_refused():
    with pytest.raises(Refused, match=r"'denoising' trains a Denoiser, .* is a Linear: wrap it, undiffuse.Predictor"):
        Training(nn.Linear(2, 2), Denoising(), TensorDataset(torch.zeros(8, 2)), Train(steps=1))
