"""A chain is edited stage by stage, each at its own size; and it is one folder that holds all stages."""

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
import toy

import undiffuse
from undiffuse.conditions.prompt import PromptCondition
from undiffuse.conversion.stages import export_stages
from undiffuse.core.errors import Refused
from undiffuse.core.random import Random
from undiffuse.editing.by_stage import known_blocks, smaller
from undiffuse.editing.embeddings import towards, variations
from undiffuse.editing.interpolate import between
from undiffuse.editing.inverse_problems import inpaint
from undiffuse.editing.outpaint import outpaint
from undiffuse.editing.sdedit import vary, vary_each
from undiffuse.models.chain import Chain
from undiffuse.sampling.chained import StageTable, said
from undiffuse.sampling.request import SampleRequest

SMALL, LARGE = (1, 2, 2), (1, 4, 4)
ITEM = Random(5).normal((1, *LARGE))


def chain(small: tuple[int, ...] = SMALL) -> Chain:
    runs = {"base": toy.run(toy.Base(0.0), shape=small), "up": toy.run(toy.Up(), shape=LARGE, low=toy.low(shape=small))}
    return Chain.of_runs(runs, {"up": StageTable("runs/up", augmentation=0.3)})


def test_every_stage_varies_the_item_at_its_own_size():
    made = chain()
    found = vary(made, ITEM, 0.5, n=3, seed=4, steps=8)
    base, up = (stage.run for stage in made.stages)
    first = vary(base, smaller(ITEM, 2), 0.5, n=3, seed=4, steps=8)
    second = vary(up, ITEM, 0.5, n=3, seed=Random(4).fold(1).seed, steps=8, low=first.numpy(), augmentation=0.3)
    assert torch.equal(found, second)
    little = vary(made, ITEM, 0.01, n=2, sampler="ddim", steps=100)
    assert float((little - ITEM).abs().max()) < 0.1  # the item is nearly kept, its details too
    some, low = torch.cat([ITEM, -ITEM]).numpy(), np.zeros(SMALL, np.float32)
    each = vary_each(up, some, 0.5, SampleRequest(seed=1, steps=8), low=low)
    torch.testing.assert_close(each[:1], vary(up, ITEM, 0.5, seed=1, steps=8, low=low))


def test_every_stage_paints_where_its_pixels_are_not_known_whole():
    mask = np.ones((1, 4, 4), np.float32)
    mask[0, 0, 0] = 0
    assert known_blocks(mask, 2, ITEM[..., :2, :2]).tolist() == [[[0, 1], [1, 1]]]
    assert known_blocks(mask[0, 0], 2, ITEM[..., :2, :2]).tolist() == [[[0, 1], [0, 1]]]  # broadcast along the rows
    found = inpaint(chain(), ITEM, mask, n=3, steps=6)
    known = torch.from_numpy(mask) > 0
    assert torch.equal(found[:, known], ITEM[:, known].expand(3, -1))
    assert float(found[:, 0, 0, 0].std()) > 0.01


def test_edits_that_stages_cannot_follow_are_refused():
    """Whatever the stages are told: the runs inside their conditions are theirs, and not the chain's."""
    told: Any = chain()
    vars(told)["conditions"] = {"text": PromptCondition()}
    for edit in (
        lambda made: outpaint(made, ITEM, (8, 8)),
        lambda made: variations(made, ITEM),
        lambda made: towards(made, ITEM, "a red dot"),
        lambda made: between(made, ITEM, ITEM),
    ):
        for made in (chain(), told):
            with pytest.raises(Refused, match=r"a chain is edited by --mask and --strength.*--format stages"):
                edit(cast(Any, made))
    with pytest.raises(Refused, match=r"samples have the shape \(1, 4, 4\), and this is \(1, 2, 2\)"):
        vary(chain(), ITEM[..., :2, :2])
    with pytest.raises(Refused, match=r"stage 'base' makes samples of shape \(1, 3, 3\), which are not items"):
        vary(chain((1, 3, 3)), ITEM)


def test_the_stages_of_a_chain_are_one_folder_that_is_the_chain_again(tmp_path: Path):
    runs = {"base": toy.untrained(SMALL), "up": toy.untrained(LARGE, low=toy.low(shape=SMALL))}
    made = Chain.of_runs(runs, {"up": StageTable("runs/up", augmentation=0.3, truncated=True)})
    made.save(tmp_path / "chain")
    loaded = undiffuse.load(tmp_path / "chain")
    assert export_stages(loaded, tmp_path / "out") == ["base", "up", "chain.toml"]
    stages = said([str(tmp_path / "out" / "chain.toml")])
    assert stages["up"] == StageTable(str(tmp_path / "out" / "up"), "low", 0.3, True)
    again = Chain.of_runs({name: undiffuse.load(each.run) for name, each in stages.items()}, stages)
    assert torch.equal(again.sample(2, steps=3), loaded.sample(2, steps=3))
    with pytest.raises(Refused, match="out is there already"):
        export_stages(loaded, tmp_path / "out")
    with pytest.raises(Refused, match="--format stages is of a chain, and this is a model of samples"):
        export_stages(again.stages[0].run, tmp_path / "other")
    with pytest.raises(Refused, match=r"(?s)stage 'base' of the chain: no pipeline of diffusers.*each stage as a run"):
        export_stages(loaded, tmp_path / "diffusers", diffusers=True)
    assert not (tmp_path / "diffusers").exists()
