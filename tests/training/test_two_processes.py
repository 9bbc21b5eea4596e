"""Training in two processes is training in one: the same batches, noise, losses and weights, to rounding."""

from pathlib import Path

import players
import pytest
import tiny_run as tiny
import torch
from processes import SETTINGS, processes

from undiffuse.core.errors import Refused
from undiffuse.training.start import train


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of two processes."""
    return processes(tmp_path_factory)


def test_two_processes_do_what_one_does(pair: Path, tmp_path: Path):
    """Data, noise and losses are the same to rounding, also after a resume by another number of processes."""
    list(train(tiny.TABLES, out=tmp_path / "one", overrides=SETTINGS))
    one, two = tiny.metrics(tmp_path / "one"), tiny.metrics(pair / "digits")
    assert [line["step"] for line in two] == [1, 2, 3, 4]
    assert [line["loss"] for line in two] == pytest.approx([line["loss"] for line in one], rel=1e-5)
    assert [line["grad_norm"] for line in two] == pytest.approx([line["grad_norm"] for line in one], rel=1e-4)
    mine, theirs = tiny.tensors(tmp_path / "one"), tiny.tensors(pair / "digits")
    for name in mine:
        assert torch.allclose(mine[name], theirs[name], rtol=1e-3, atol=1e-5), name
    further = train(pair / "digits", resume=True, overrides=["train.steps=5"])
    assert [numbers["step"] for numbers in further] == [5]


def test_low_rank_beside_frozen_weights_is_the_same_in_two_processes(pair: Path, tmp_path: Path):
    players.adapting(tmp_path / "one").run(progress=False)
    one, two = tiny.tensors(tmp_path / "one"), tiny.tensors(pair / "adapting")
    assert {name for name in one if name.startswith("weights.")} == {
        f"weights.{layer}.lora_{which}.weight" for layer in (0, 3) for which in "AB"
    }
    for key, value in one.items():
        torch.testing.assert_close(two[key], value, rtol=1e-5, atol=1e-6)


def test_losses_over_the_whole_batch_are_the_same_in_two_processes_and_never_in_parts(pair: Path, tmp_path: Path):
    """A contrastive loss, and all losses of reconstructions at once, a game among them."""
    players.training("contrastive", tmp_path / "contrastive").run(progress=False)
    players.reconstructing(tmp_path / "reconstructing").run(progress=False)
    for name in ("contrastive", "reconstructing"):
        one, two = tiny.tensors(tmp_path / name), tiny.tensors(pair / name)
        for key, value in one.items():
            torch.testing.assert_close(two[key], value, rtol=1e-5, atol=1e-6)
    assert any(key.startswith("players.discriminator") for key in one)
    with pytest.raises(Refused, match=r"train.accumulate = 2 computes a batch in parts, and the items of this"):
        players.training("contrastive", tmp_path / "parts", accumulate=2)


def test_a_pair_of_encoders_sees_the_texts_of_all_processes(pair: Path, tmp_path: Path):
    """Its losses, among all items and texts of the batch, and the gradient of all weights."""
    players.pairing(tmp_path / "one", "sgd").run(progress=False)
    one, two = tiny.metrics(tmp_path / "one"), tiny.metrics(pair / "pairing")
    for key in ("loss", "grad_norm"):
        assert [line[key] for line in two] == pytest.approx([line[key] for line in one], rel=1e-5)
    mine, theirs = tiny.tensors(tmp_path / "one"), tiny.tensors(pair / "pairing")
    for key, value in mine.items():
        torch.testing.assert_close(theirs[key], value, rtol=1e-5, atol=1e-6)


def test_a_game_of_distribution_matching_is_the_same_in_two_processes(pair: Path, tmp_path: Path):
    """Both roll the student out to the same step, and the fake denoiser and the head see the whole batch."""
    players.matching(tmp_path / "one", "sgd").run(progress=False)
    one, two = tiny.tensors(tmp_path / "one"), tiny.tensors(pair / "matching")
    assert sum(key.startswith("players.fake.weights.") for key in one) > 10
    for key, value in one.items():
        torch.testing.assert_close(two[key], value, rtol=1e-4, atol=1e-6)


def test_a_consistency_model_and_its_averaged_target_are_the_same_in_two_processes(pair: Path, tmp_path: Path):
    players.consistent(tmp_path / "one", "sgd").run(progress=False)
    one, two = tiny.tensors(tmp_path / "one"), tiny.tensors(pair / "consistent")
    assert sum(key.startswith("objective.target.") for key in one) > 10
    for key, value in one.items():
        torch.testing.assert_close(two[key], value, rtol=1e-4, atol=1e-6)


def test_a_flow_map_is_the_same_in_two_processes(pair: Path, tmp_path: Path):
    """Its losses and gradients: a derivative in forward mode is of each item, and has no gradient of its own."""
    players.jumping(tmp_path / "one", "sgd").run(progress=False)
    one, two = tiny.metrics(tmp_path / "one"), tiny.metrics(pair / "jumping")
    for key in ("loss", "grad_norm"):
        assert [line[key] for line in two] == pytest.approx([line[key] for line in one], rel=1e-4)
    mine, theirs = tiny.tensors(tmp_path / "one"), tiny.tensors(pair / "jumping")
    for name, value in mine.items():
        torch.testing.assert_close(theirs[name], value, rtol=1e-4, atol=1e-6)


def test_a_student_that_became_its_own_teacher_is_the_same_in_two_processes(pair: Path, tmp_path: Path):
    players.halving(tmp_path / "one", "sgd").run(progress=False)
    one, two = tiny.tensors(tmp_path / "one"), tiny.tensors(pair / "halving")
    assert int(one["objective.phase"]) == 1
    assert sum(key.startswith("objective.teacher.") for key in one) > 10
    for key, value in one.items():
        torch.testing.assert_close(two[key], value, rtol=1e-4, atol=1e-6)


def test_a_codebook_follows_the_latents_of_all_processes(pair: Path, tmp_path: Path):
    players.quantising(tmp_path / "one").run(progress=False)
    one, two = tiny.tensors(tmp_path / "one"), tiny.tensors(pair / "quantising")
    codes = {name for name in one if "bottleneck." in name}
    assert any(name.endswith("codebook") for name in codes)
    for name in codes:
        torch.testing.assert_close(two[name], one[name], rtol=1e-5, atol=1e-6)
