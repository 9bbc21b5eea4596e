"""A later stage that learns from what the earlier one makes of each item."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import toy

import undiffuse
from undiffuse.conditions.image import ImageCondition
from undiffuse.core.errors import Refused
from undiffuse.data.dataset import Dataset
from undiffuse.editing.sdedit import vary, vary_each
from undiffuse.models import load
from undiffuse.models.chain import Chain
from undiffuse.recipes.uses import said_from_root
from undiffuse.sampling.request import SampleRequest
from undiffuse.training import stage_samples
from undiffuse.training.continuing import refuse_others, used
from undiffuse.training.stage_samples import paths, with_samples

SMALL, LARGE = (1, 2, 2), (1, 4, 4)
LOW = np.random.default_rng(0).normal(size=(6, *SMALL)).astype(np.float32)
DATA = Dataset(np.zeros((6, *LARGE), np.float32), {"low": LOW, "other": LOW})


def test_items_are_varied_once_by_their_own_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("UNDIFFUSE_CACHE", str(tmp_path / "cache"))
    toy.untrained(SMALL).save(tmp_path / "base")
    conditions = {"low": ImageCondition(varied_by=str(tmp_path / "base"), strength=0.2), "other": ImageCondition()}
    found = with_samples(DATA, conditions)
    run = undiffuse.load(tmp_path / "base", "float32")
    assert found.conditions["low"].shape == LOW.shape
    assert not np.array_equal(found.conditions["low"], LOW)
    assert np.array_equal(found.conditions["other"], LOW)
    alone = vary(run, LOW[3:4], 0.2, indices=[3]).numpy()
    np.testing.assert_allclose(found.conditions["low"][3:4], alone, atol=1e-5)
    monkeypatch.setattr(stage_samples, "vary_each", None)  # what is kept is not drawn again
    assert np.array_equal(with_samples(DATA, conditions).conditions["low"], found.conditions["low"])
    named = paths(conditions)
    assert list(named) == ["conditions.low.varied_by"]
    assert said_from_root(named) == [f'conditions.low.varied_by="{tmp_path / "base"}"']
    before = used(named)
    monkeypatch.setattr(load, "description", lambda folder: replace(run.description, facts={"runs": before}))
    refuse_others(tmp_path / "up", used(named))
    changed = toy.untrained(SMALL)
    next(changed.module.parameters()).data.add_(1)
    changed.save(tmp_path / "base")
    with pytest.raises(Refused, match=r"conditions.low.varied_by = '.*base' is not the run that .*up was trained with"):
        refuse_others(tmp_path / "up", used(named))
    large = {"low": replace(conditions["low"], varied_by=str(tmp_path / "large"))}
    toy.untrained(LARGE).save(tmp_path / "large")
    with pytest.raises(Refused, match=r"samples of shape \(1, 4, 4\), and 'low' of the data is of shape \(1, 2, 2\)"):
        with_samples(DATA, large)
    with pytest.raises(Refused, match=r"conditions.low.varied_by = '.*none': there is no run at"):
        with_samples(DATA, {"low": replace(conditions["low"], varied_by=str(tmp_path / "none"))})
    with pytest.raises(Refused, match=r"strength is the share of varied_by's steps: above 0 and up to 1, not 0"):
        ImageCondition(strength=0.0)


def test_a_chain_varies_each_item_too():
    """Of an exact model the items stay what they were on average, and the further the stronger."""
    runs = {"base": toy.run(toy.Base(0.0), shape=SMALL), "up": toy.run(toy.Up(), shape=LARGE, low=toy.low(shape=SMALL))}
    chain, items = Chain.of_runs(runs), np.repeat(np.repeat(LOW, 2, 2), 2, 3)
    little, much = (vary_each(chain, items, s, SampleRequest(steps=20)).numpy() - items for s in (0.05, 0.9))
    assert little.shape == items.shape
    assert np.abs(little).mean() < 0.2 * np.abs(much).mean()
