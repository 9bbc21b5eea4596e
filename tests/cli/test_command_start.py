"""Starting is instant: help, version and the package itself leave PyTorch alone."""

import re
import subprocess
import sys

import pytest
from alone import Alone

import undiffuse

HELP = """
import sys
from undiffuse.cli.main import main
for words in (["--help"], ["--version"], ["sample", "--help"], ["evaluate", "--help"], ["train", "--help"]):
    try: main(words)
    except SystemExit as stop: assert not stop.code, words
    assert 'torch' not in sys.modules, words
    print("said", *words)
"""


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_help_does_not_import_torch():
    parts = re.split(r"^said .*$", python(HELP), flags=re.MULTILINE)
    assert len(parts) == 6
    assert all(part.strip() for part in parts[:-1])


def test_every_public_name_is_there():
    for name in undiffuse.__all__:
        assert getattr(undiffuse, name) is not None
    assert sorted(undiffuse.__all__) == undiffuse.__all__ == dir(undiffuse)


def test_public_names_are_the_same_things_as_in_their_modules():
    from undiffuse.core import sample
    from undiffuse.samplers.ddim import DDIM

    assert undiffuse.samplers.DDIM is DDIM
    assert undiffuse.sample is sample.sample


def test_an_unknown_name_says_what_there_is():
    with pytest.raises(AttributeError, match=r"has no attribute 'Modle'.*Diffusion"):
        _ = undiffuse.Modle  # type: ignore[attr-defined]


def test_the_command_runs_as_a_module():
    done = subprocess.run([sys.executable, "-m", "undiffuse", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"undiffuse {undiffuse.__version__}"


@pytest.mark.slow
def test_loading_showing_and_listing_import_nothing_that_takes_long(alone: Alone):
    """The package alone imports no PyTorch, loading a model not PyTorch's compiler, a second and 150 MB, and loading
    and showing not what judges and draws pictures: 10 MB.
    """
    assert "light" in alone.out.splitlines(), alone.err
