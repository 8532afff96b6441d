"""Laws of ``layerscout pretrain pvdr``: a folder that is a backbone, continued bit by bit, and what is refused."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from pvdr_worlds import SMALL

from layerscout.errors import DataError
from layerscout.extract.backbones.finding import find_backbone
from layerscout.extract.backbones.networks.pvdr.pvdr import read_networks
from layerscout.rl.transfer.folders import facts_rows
from layerscout.rl.transfer.pvdr import pretrain
from layerscout.rl.transfer.pvdr.config import PretrainPvdrConfig
from layerscout.rl.transfer.pvdr.judging import TokenizerFigures, copying_nats
from layerscout.worlds import collect
from layerscout.worlds.config import CollectConfig


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    out = tmp_path_factory.mktemp("films") / "dot.h5"
    return collect.run(collect.plan(CollectConfig(environment="layerscout/Dot-v0", steps=160, policy="random:6", size=16, out=out)))


def settings(data, out, **changes) -> PretrainPvdrConfig:
    given = {"shape": SMALL, "tokenizer_updates": 8, "tokenizer_batch": 8, "updates": 8, "batch": 4, "checkpoint_every": 5, "threads": 1}
    return PretrainPvdrConfig(data=data, out=out, **{**given, **changes})


def test_a_killed_pretraining_writes_the_same_weights(data, tmp_path, monkeypatch):
    whole = pretrain.run(pretrain.plan(settings(data, tmp_path / "whole")))
    saved, calls = pretrain.save_checkpoint, []

    def killing(*arguments):
        saved(*arguments)
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(pretrain, "save_checkpoint", killing)
    with pytest.raises(KeyboardInterrupt):
        pretrain.run(pretrain.plan(settings(data, tmp_path / "killed")))
    monkeypatch.undo()
    planned = pretrain.plan(settings(data, tmp_path / "killed"))
    assert planned.done == (8, 5)
    assert planned.describe()["exists"] is False
    again = pretrain.run(planned)
    assert again["dynamics"] == whole["dynamics"]
    one, other = (read_networks(tmp_path / name, SMALL) for name in ("whole", "killed"))
    for mine, theirs in zip(one, other, strict=True):
        for name, value in mine.state_dict().items():
            assert torch.equal(value, theirs.state_dict()[name]), name
    assert (tmp_path / "whole" / "README.md").read_text().count("nats a clip") == 2
    assert json.loads((tmp_path / "whole" / "pvdr.json").read_text())["episodes"] > 0
    assert find_backbone(f"pvdr:{tmp_path / 'whole'}").clip.offsets == (-2, -1, 0)


def test_a_dataset_that_is_replaced_after_it_was_read_names_no_world(data, tmp_path, monkeypatch):
    file = tmp_path / "dot.h5"
    shutil.copy(data, file)
    other = CollectConfig(environment="layerscout/Dot-v0", steps=80, policy="random:6", size=16, seed=5, out=tmp_path / "other.h5")
    collect.run(collect.plan(other))
    read = pretrain.read_videos

    def replacing(*arguments):
        stream = read(*arguments)
        shutil.copy(other.out, file)
        return stream

    monkeypatch.setattr(pretrain, "read_videos", replacing)
    with pytest.raises(DataError, match=f"{file} is not the dataset that was read any more"):
        pretrain.run(pretrain.plan(settings(file, tmp_path / "out")))
    assert not (tmp_path / "out" / "pvdr.json").exists()


def test_other_settings_in_the_same_folder_are_named(data, tmp_path):
    pretrain.run(pretrain.plan(settings(data, tmp_path)))
    with pytest.raises(DataError, match=r"the checkpoint in .* was made with beta = 0\.1, and 0\.5 is asked for"):
        pretrain.run(pretrain.plan(settings(data, tmp_path, updates=9, beta=0.5)))


def test_videos_that_are_too_short_are_refused(data, tmp_path):
    shape = SMALL.model_copy(update={"future": 20})
    with pytest.raises(DataError, match="clips are m \\+ n = 21 frames long, and the longest"):
        pretrain.run(pretrain.plan(settings(data, tmp_path, shape=shape)))
    with pytest.raises(DataError, match="no dataset"):
        pretrain.plan(settings(tmp_path / "nothing.h5", tmp_path))


def test_a_share_of_the_episodes_is_the_first_ones(data, tmp_path):
    facts = []
    for share in (1.0, 0.5):
        pretrain.run(pretrain.plan(settings(data, tmp_path / str(share), share=share)))
        facts.append(json.loads((tmp_path / str(share) / "pvdr.json").read_text())["episodes"])
    assert facts[1] == round(facts[0] / 2)


def test_copying_the_last_frame_costs_what_its_best_share_of_changes_costs():
    tokens, codes, changed = 64, 8, np.array([3.0, 9.0, 0.0, 20.0])

    def cost(share: float) -> float:
        return float(np.mean(-(tokens - changed) * np.log(1 - share) - changed * np.log(share / (codes - 1))))

    found = copying_nats(float(changed.mean()), tokens, codes)
    assert found == pytest.approx(min(cost(share) for share in np.linspace(0.01, 0.99, 981)), rel=1e-4)
    assert copying_nats(0.0, tokens, codes) == 0.0
    assert copying_nats(64.0, tokens, 2) == 0.0, "with two codes a change is known too"


def test_what_a_dataset_says_of_itself_stays_text_on_the_card():
    shown = facts_rows({"environment": "a|b <script>", "share": 0.123456, "read_out": None})
    assert shown == "| environment | a\\|b &lt;script> |\n| share | 0.1235 |\n| read out | n/a |"


def test_a_codebook_that_collapsed_is_warned_of():
    assert TokenizerFigures(0.1, 30.0).warning is None
    assert "perplexity of 1.20" in (TokenizerFigures(0.9, 1.2).warning or "")
    assert np.isfinite(TokenizerFigures(0.9, 1.2).perplexity)


def test_a_tokenizer_that_paints_the_mean_picture_is_warned_of():
    assert TokenizerFigures(0.49, 20.0).warning is None
    assert TokenizerFigures(None, 20.0).warning is None, "frames that do not vary say nothing"
    assert "an error of 115 % of their variance" in (TokenizerFigures(1.15, 20.0).warning or "")
