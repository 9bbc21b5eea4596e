"""Averages made after training: exact where they were stored, and elsewhere wrong by no more than they say."""

from pathlib import Path

import numpy as np
import pytest
import torch

from undiffuse.core.errors import Refused
from undiffuse.storage import files
from undiffuse.training import ema_snapshots
from undiffuse.training.ema import gamma, power
from undiffuse.training.posthoc import Profile, inner, mix, reconstruct, snapshots, std

GAMMAS = (gamma(0.05), gamma(0.10))


def stored(count: int, steps: float = 1000) -> list[Profile]:
    """Two tracks, kept `count` times at even distances."""
    return [Profile(steps * (i + 1) / count, g) for i in range(count) for g in GAMMAS]


@pytest.mark.parametrize(("length", "exponent"), [(0.05, 16.9722), (0.10, 6.9372), (0.25, 0.7198)])
def test_lengths_and_exponents_are_the_papers(length: float, exponent: float):
    """16.97 and 6.94: arXiv:2312.02696, sec. 3.1."""
    assert gamma(length) == pytest.approx(exponent, abs=2e-4)
    assert std(gamma(length)) == pytest.approx(length, rel=1e-12)
    tau = (np.arange(200_000) + 0.5) / 200_000
    weight = tau ** gamma(length) / (tau ** gamma(length)).sum()
    assert np.sqrt((weight * tau**2).sum() - (weight * tau).sum() ** 2) == pytest.approx(length, rel=1e-4)


def test_inner_products_are_the_integrals():
    tau = (np.arange(400_000) + 0.5) / 400
    profiles = [Profile(1000, 6.9), Profile(600, 17.0), Profile(300, 0.0), Profile(1000, 0.5)]
    p = np.array([np.where(tau < t, (g + 1) * (tau / t) ** g / t, 0) for t, g in profiles])
    np.testing.assert_allclose(inner(profiles, profiles), p @ p.T / 400, rtol=2e-3)


def test_inner_products_stay_finite_for_long_trainings_and_short_averages():
    extreme = [Profile(1, 1e4), Profile(1e9, 1e4), Profile(1e9, 1e6)]
    values = inner(extreme, extreme)
    assert np.isfinite(values).all()
    assert values[1, 2] == pytest.approx(1e10 / 1.01e6 / 1e9, rel=1e-3)


@pytest.mark.parametrize("count", [1, 4, 8, 32])
def test_what_was_stored_is_found_exactly(count: int):
    profiles = stored(count)
    for i, target in enumerate(profiles):
        found = mix(profiles, target)
        assert found.residual < 1e-6
        np.testing.assert_allclose(found.coefficients, np.eye(len(profiles))[i], atol=1e-7)


@pytest.mark.parametrize("length", [0.02, 0.07, 0.15, 0.25])
def test_coefficients_sum_to_one_and_more_snapshots_miss_less(length: float):
    found = [mix(stored(count), Profile(1000, gamma(length))) for count in (2, 4, 8, 16, 32)]
    assert all(mixture.coefficients.sum() == pytest.approx(1, abs=1e-12) for mixture in found)
    residuals = [mixture.residual for mixture in found]
    assert residuals == sorted(residuals, reverse=True)
    assert residuals[-1] < 0.05


@pytest.mark.parametrize("scale", [1e-3, 1e6])
def test_the_unit_of_the_steps_does_not_matter(scale: float):
    one = mix(stored(8), Profile(1000, gamma(0.07)))
    other = mix(stored(8, 1000 * scale), Profile(1000 * scale, gamma(0.07)))
    np.testing.assert_allclose(other.coefficients, one.coefficients, rtol=1e-6)
    assert other.residual == pytest.approx(one.residual, rel=1e-6)


def test_the_residual_is_that_of_the_profiles():
    """Against profiles on a fine grid: no other coefficients that sum to 1 come nearer."""
    profiles, target = stored(4), Profile(1000, gamma(0.15))
    tau = (np.arange(100_000) + 0.5) / 100
    p = np.array([np.where(tau < t, (g + 1) * (tau / t) ** g / t, 0) for t, g in [*profiles, target]])
    found = mix(profiles, target)

    def missed(coefficients: np.ndarray) -> float:
        return float(np.linalg.norm(coefficients @ p[:-1] - p[-1]) / np.linalg.norm(p[-1]))

    assert missed(found.coefficients) == pytest.approx(found.residual, rel=1e-3)
    for step in np.random.default_rng(0).normal(0, 1e-2, (20, len(profiles))):
        assert missed(found.coefficients + step - step.mean()) > found.residual


STEPS = 400


@pytest.fixture
def run(tmp_path: Path) -> tuple[Path, torch.Tensor]:
    """A run whose weights walk at random, with eight snapshots as training writes them, and the walk, (steps, 5)."""
    walk = torch.randn(STEPS, 5, dtype=torch.float64).cumsum(0) / 20 + 3
    averages = {name: torch.zeros(5, dtype=torch.float64) for name in ema_snapshots.LENGTHS}
    for step in range(1, STEPS + 1):
        for name, length in ema_snapshots.LENGTHS.items():
            averages[name].lerp_(walk[step - 1], 1 - power(step, gamma(length)))
        if ema_snapshots.due(step, STEPS, 8):
            held = {f"{name}.w": value.float() for name, value in averages.items()}
            ema_snapshots.save(tmp_path, step, held | {f"{name}.n": torch.tensor(step) for name in averages})
    return tmp_path, walk


def direct(walk: torch.Tensor, length: float, steps: int) -> torch.Tensor:
    average = torch.zeros(5, dtype=torch.float64)
    for step in range(1, steps + 1):
        average.lerp_(walk[step - 1], 1 - power(step, gamma(length)))
    return average


@pytest.mark.parametrize("length", [0.03, 0.05, 0.08, 0.10, 0.15, 0.2])
def test_weights_on_a_known_path_are_averaged_to_the_residual(run: tuple[Path, torch.Tensor], length: float):
    """|sum (p - sum c p_i) theta| <= residual |p| |theta|, by Cauchy and Schwarz; the mean of theta costs nothing."""
    folder, walk = run
    made, mixture = reconstruct(folder, length)
    target = Profile(STEPS, gamma(length))
    around = walk - walk.mean(0)
    bound = mixture.residual * float(inner([target], [target])[0, 0]) ** 0.5 * around.norm(dim=0)
    error = (made["w"].double() - direct(walk, length, STEPS)).abs()
    assert (error <= bound + 1e-5).all()
    assert made["w"].dtype == torch.float32
    assert made["n"].item() == STEPS
    if length in ema_snapshots.LENGTHS.values():
        assert error.max() < 1e-5


def test_an_average_as_it_was_earlier_uses_nothing_that_came_later(run: tuple[Path, torch.Tensor]):
    folder, walk = run
    made, mixture = reconstruct(folder, 0.08, step=200)
    assert len(mixture.coefficients) == 8
    torch.testing.assert_close(made["w"].double(), direct(walk, 0.08, 200), rtol=0, atol=5 * mixture.residual)


def test_weights_that_never_change_stay_as_they_are(tmp_path: Path):
    for step in (10, 20, 30):
        ema_snapshots.save(tmp_path, step, {"a.w": torch.full((3,), 0.7), "b.w": torch.full((3,), 0.7)})
    for length in (0.02, 0.13, 0.28):
        assert reconstruct(tmp_path, length)[0]["w"].tolist() == pytest.approx([0.7] * 3, rel=1e-6)


def test_snapshots_that_are_missing_broken_or_of_another_network_are_refused(tmp_path: Path):
    with pytest.raises(Refused, match=r"has kept no snapshots of averages: train with --set train.snapshots=16"):
        snapshots(tmp_path)
    with pytest.raises(Refused, match="there are no snapshots of averages"):
        mix([], Profile(1, 1))
    with pytest.raises(Refused, match=r"a share of the training between 0 and 0\.288, not 0\.3"):
        gamma(0.3)
    ema_snapshots.save(tmp_path, 10, {"a.w": torch.zeros(3), "b.w": torch.zeros(3)})
    ema_snapshots.save(tmp_path, 20, {"a.w": torch.zeros(3), "b.w": torch.zeros(3)})
    first = ema_snapshots.file(tmp_path, 10)
    for held, about, message in [
        ({"a.w": torch.zeros(4), "b.w": torch.zeros(3)}, {"step": 10, "std": ema_snapshots.LENGTHS}, "'a.w' differs"),
        ({"a.w": torch.zeros(3)}, {"step": 10, "std": ema_snapshots.LENGTHS}, "'b.w' differs"),
        (
            {"a.w": torch.zeros(3), "b.w": torch.zeros(3), "b.v": torch.zeros(1)},
            {"step": 10, "std": ema_snapshots.LENGTHS},
            "'b.v'",
        ),
        ({}, {"step": "10", "std": {}}, "does not say of which step"),
        ({}, {"step": 10}, "does not say of which step"),
        ({}, {"step": 10, "std": {"a": "x"}}, "'x' is no length of an average"),
        ({}, {"step": 10, "std": {"a": 7}}, "a share of the training"),
    ]:
        files.write_tensors(first, held, about)
        with pytest.raises(Refused, match=message):
            reconstruct(tmp_path, 0.07)
    first.write_bytes(b"broken")
    with pytest.raises(Refused, match=r"cannot read snapshot .*incomplete or broken"):
        reconstruct(tmp_path, 0.07)
