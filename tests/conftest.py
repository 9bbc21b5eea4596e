"""One thread and known seeds for every test, so that numbers and times do not depend on the machine."""

import random

import numpy as np
import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 - scikit-learn draws from the global generator
    torch.manual_seed(0)
