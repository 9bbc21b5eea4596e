"""A classifier of items, which reads the classes of samples."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from undiffuse.evaluation.features.components import fit_projection


@dataclass(frozen=True, eq=False)
class Reader:
    """A support vector machine with Gaussian kernel, as arrays that can be kept in a file; its call reads classes."""

    arrays: Mapping[str, np.ndarray]

    def __call__(self, items: np.ndarray) -> np.ndarray:
        """The class of each item: of (count, dimensions), (count,)."""
        return np.concatenate([self._read(items[i : i + 1024]) for i in range(0, len(items), 1024)])

    def _read(self, items: np.ndarray) -> np.ndarray:
        a = self.arrays
        if len(a["classes"]) == 1:
            return np.full(len(items), a["classes"][0])
        x = ((items - a["mean"]) @ a["axes"]).astype(np.float64)
        squares = (x**2).sum(1)[:, None] + (a["vectors"] ** 2).sum(1) - 2 * x @ a["vectors"].T
        kernel = np.exp(-a["width"] * squares)  # (items, support vectors)
        ends = np.cumsum(a["counts"])
        mine = [slice(end - count, end) for end, count in zip(ends, a["counts"], strict=True)]
        votes, pair = np.zeros((len(items), len(mine)), int), 0
        for i in range(len(mine)):  # each pair of classes has its own machine, and they vote
            for j in range(i + 1, len(mine)):
                margin = (
                    kernel[:, mine[i]] @ a["weights"][j - 1, mine[i]] + kernel[:, mine[j]] @ a["weights"][i, mine[j]]
                )
                first = margin + a["offsets"][pair] > 0
                votes[first, i] += 1
                votes[~first, j] += 1
                pair += 1
        return a["classes"][votes.argmax(1)]


def train_classifier(x: np.ndarray, labels: np.ndarray, strictness: float = 10.0) -> Reader:
    """The machine for items x (count, dimensions) with labels (count,), on up to 64 principal components.

    The kernel's width follows from the variance; strictness: the price C of an item on the wrong side.
    On held-out parts it reads 99 % of the 8 x 8 digits and 98 % of MNIST; a set of one class is read as that class.
    """
    present = np.unique(labels)
    if len(present) == 1:
        return Reader({"classes": present})

    from sklearn.svm import SVC

    project = fit_projection(x, 64)
    found = project(x)
    width = 1 / (found.shape[1] * found.var()) if found.var() > 0 else 1.0
    machine = SVC(C=strictness, gamma=width, cache_size=500)  # pyright: ignore[reportArgumentType] - text or number
    machine.fit(found, labels)
    sign = -1 if len(present) == 2 else 1  # of two classes scikit-learn turns the margin round
    return Reader(
        {
            "classes": machine.classes_,
            "mean": project.mean,
            "axes": project.axes,
            "vectors": machine.support_vectors_,
            "counts": machine.n_support_,
            "weights": sign * machine.dual_coef_,
            "offsets": sign * machine.intercept_,
            "width": np.array(width),
        }
    )
