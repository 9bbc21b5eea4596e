"""Every test begins and ends without files in use."""

from collections.abc import Iterator

import pytest

from undiffuse.core import plugins


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    yield
    for path in plugins.in_use():
        plugins.forget(path)
