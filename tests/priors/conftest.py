"""One pair of encoders, data for it, a prior and a decoder."""

from collections.abc import Iterator
from pathlib import Path

import pairs
import pytest


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing is kept in the cache of whoever runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNDIFFUSE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pairs.npz, and the runs pair, prior and decoder."""
    folder = tmp_path_factory.mktemp("priors")
    pair, data = pairs.write(folder / "pair"), pairs.data(folder)
    pairs.trained(pairs.prior(data, pair), folder / "prior")
    pairs.trained(pairs.decoder(data, pair), folder / "decoder")
    return folder
