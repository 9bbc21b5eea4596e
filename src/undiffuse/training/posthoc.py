"""Averages of the weights of any length, made after training from snapshots of two (arXiv:2312.02696, sec. 3)."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from undiffuse.core.errors import Refused
from undiffuse.storage.tensor_file import Held, held
from undiffuse.training import ema_snapshots
from undiffuse.training.ema import gamma


class Profile(NamedTuple):
    """How an average weighs the steps tau: p(tau) = (gamma + 1) tau^gamma / step^(gamma + 1) up to `step`, then 0."""

    step: float
    gamma: float


class Mix(NamedTuple):
    """An average as a sum of others: their coefficients, which sum to 1, and how much of its profile is missed.

    residual: |p - sum c_i p_i| / |p|, so that weights on a path theta are missed by at most residual |p| |theta|, with
    |f|^2 the integral of f^2 over the steps.
    """

    coefficients: np.ndarray
    residual: float


class Snapshot(NamedTuple):
    """One average in a file of the run: the beginning of its tensors' names, and its profile."""

    path: Path
    prefix: str
    profile: Profile


def std(gamma: float) -> float:
    """The standard deviation of the profile, as a share of the training: (gamma+1)^(1/2) / (gamma+2) / (gamma+3)^(1/2).

    `ema.gamma` is its inverse. Source: arXiv:2312.02696, sec. 3.1.
    """
    return (gamma + 1) ** 0.5 / (gamma + 2) / (gamma + 3) ** 0.5


def inner(one: Sequence[Profile], other: Sequence[Profile]) -> np.ndarray:
    """The integrals of p_i p_j over all steps, (len(one), len(other)), in float64.

    (g_i + 1) (g_j + 1) / (g_i + g_j + 1) (t_min / t_max)^g_max / t_max, g_max being the gamma of the later profile.
    """
    (t_i, g_i), (t_j, g_j) = (np.array(profiles, np.float64).T for profiles in (one, other))
    t_i, g_i = t_i[:, None], g_i[:, None]
    latest, of_latest = np.maximum(t_i, t_j), np.where(t_i > t_j, g_i, g_j)
    log = np.log((g_i + 1) * (g_j + 1) / (g_i + g_j + 1))
    return np.exp(log + of_latest * np.log(np.minimum(t_i, t_j) / latest) - np.log(latest))


def mix(stored: Sequence[Profile], target: Profile) -> Mix:
    """The mixture of the stored profiles that is nearest to the target, in the mean square over the steps.

    Minimises |p - sum c_i p_i|^2 under sum c_i = 1, which leaves weights that do not change as they are.
    Raises Refused without profiles.
    """
    if not stored:
        raise Refused("there are no snapshots of averages to make another from")
    gram, right = inner(stored, stored), inner(stored, [target])[:, 0]
    whole = float(inner([target], [target])[0, 0])
    size = np.sqrt(np.diag(gram) / whole)  # profiles of length 1 keep the equations well scaled
    count = len(stored)
    matrix = np.zeros((count + 1, count + 1))
    matrix[:count, :count] = gram / whole / size / size[:, None]
    matrix[:count, count] = matrix[count, :count] = 1 / size / np.max(1 / size)
    sides = np.append(right / whole / size, 1 / np.max(1 / size))
    scaled = np.linalg.lstsq(matrix, sides, rcond=None)[0][:count]
    missed = 1 - 2 * scaled @ sides[:count] + scaled @ matrix[:count, :count] @ scaled
    coefficients = scaled / size
    return Mix(coefficients / coefficients.sum(), float(np.sqrt(max(missed, 0.0))))


def snapshots(run: Path) -> list[Snapshot]:
    """The averages that a run has kept, by step; raises Refused if there are none, or for a file that is broken."""
    found: list[Snapshot] = []
    folder = run / ema_snapshots.FOLDER
    for path in sorted(folder.glob("[0-9]*.safetensors")) if folder.is_dir() else []:
        with held(path, "snapshot") as file:
            step, lengths = file.about.get("step"), file.about.get("std")
        if not isinstance(step, int) or step < 1 or not isinstance(lengths, dict):
            raise Refused(f"snapshot {path} is broken: it does not say of which step and lengths it is")
        for track, length in lengths.items():
            if not isinstance(length, int | float):
                raise Refused(f"snapshot {path} is broken: {length!r} is no length of an average")
            found.append(Snapshot(path, f"{track}.", Profile(step, gamma(length))))
    if not found:
        raise Refused(
            f"{run} has kept no snapshots of averages: train with --set train.snapshots=16 to choose the length later"
        )
    return sorted(found, key=lambda snapshot: (snapshot.profile.step, snapshot.prefix))


def reconstruct(run: Path, length: float, step: float | None = None) -> tuple[dict[str, Tensor], Mix]:
    """The weights averaged over this length at this step, and the mixture that they are.

    length: the standard deviation of the average as a share of the training up to `step` (None: the last snapshot's).
    Tensors are made one at a time, in float64, from those snapshots that are not later; integers are the last one's.
    Raises Refused for lengths that no average has, and for snapshots that do not fit together.
    """
    kept = snapshots(run)
    target = Profile(kept[-1].profile.step if step is None else step, gamma(length))
    used = [snapshot for snapshot in kept if snapshot.profile.step <= target.step]
    found = mix([snapshot.profile for snapshot in used], target)
    with ExitStack() as stack:
        opened = {path: stack.enter_context(held(path, "snapshot")) for path in {s.path for s in used}}
        files = [(opened[snapshot.path], snapshot) for snapshot in used]
        last, prefix = files[-1][0], files[-1][1].prefix
        names = [name.removeprefix(prefix) for name in last if name.startswith(prefix)]
        for file, snapshot in files:
            _refuse_other(file, snapshot, last, prefix, names)
        return {name: _sum(files, name, found.coefficients) for name in names}, found


def _sum(files: Sequence[tuple[Held, Snapshot]], name: str, coefficients: np.ndarray) -> Tensor:
    """One tensor of the mixture."""
    last = files[-1][0][files[-1][1].prefix + name]
    if not last.is_floating_point():
        return last.clone()
    total = torch.zeros(last.shape, dtype=torch.float64)
    for (file, snapshot), coefficient in zip(files, coefficients, strict=True):
        total.add_(file[snapshot.prefix + name].double(), alpha=float(coefficient))
    return total.to(last.dtype)


def _refuse_other(file: Held, snapshot: Snapshot, last: Held, prefix: str, names: Sequence[str]) -> None:
    """Raises Refused if a snapshot's tensors are not those of the last one."""
    own = [name for name in file if name.startswith(snapshot.prefix)]
    for name in [f"{snapshot.prefix}{name}" for name in names] + own:
        mine, its = last.like.get(prefix + name.removeprefix(snapshot.prefix)), file.like.get(name)
        if mine is None or its is None or (mine.shape, mine.dtype) != (its.shape, its.dtype):
            raise Refused(f"snapshot {snapshot.path} does not fit the last one of its run: {name!r} differs")
