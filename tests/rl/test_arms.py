"""Which arms a selection gives: every choice with every head, then the controls, each with a name of its own."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from by_hand import select, settings

from layerscout.cache import records
from layerscout.cache.records import Selection
from layerscout.errors import DataError, UsageError
from layerscout.rl.arms import CLIPS, IN_LOOP_CONTROLS, ArmSpec, arms_of, in_loop_arms


@pytest.fixture
def chosen(tmp_path, small, synthetic_store):
    path = select(
        tmp_path / "s.json",
        ("ranked", synthetic_store, "structured_mid"),
        ("middle", synthetic_store, "random_narrow"),
        ("pixels", synthetic_store, "pixels"),
    )

    def arms(**changes) -> list[ArmSpec]:
        return arms_of(records.load(Selection, path), settings(path, tmp_path / "out", small.root, **changes))

    return arms


def test_choices_come_first_then_the_controls_in_a_fixed_order(chosen) -> None:
    names = [arm.name for arm in chosen(random_layers=2, cnn=True)]
    assert names == ["structured_mid", "random_narrow", "pixels", "random layer 0", "random layer 1", "scratch", "scratch cnn"]
    assert [arm.kind for arm in chosen()] == ["ranked", "middle", "pixels", "scratch"]
    assert [arm.name for arm in chosen(scratch=False)] == ["structured_mid", "random_narrow", "pixels"]
    assert [arm.name for arm in chosen(scratch=False, pixels=False)] == ["structured_mid", "random_narrow"]


def test_scores_belong_to_choices_and_controls_have_none(chosen) -> None:
    assert [arm.score for arm in chosen(random_layers=1)] == [0.5, 0.4, pytest.approx(0.3), None, None]


def test_each_head_is_crossed_with_each_layer_and_a_linear_one_has_no_hidden_layer(chosen) -> None:
    arms = chosen(heads=("linear", "mlp"))
    by_name = {arm.name: arm for arm in arms}
    assert len(by_name) == len(arms) == 7
    assert by_name["pixels + linear"].hidden == ()
    assert by_name["pixels + mlp"].hidden == (16,)
    assert by_name["scratch"].hidden == (12, 8), "the network from scratch is no factor"


def test_a_random_layer_is_as_wide_as_the_ranked_one_and_reads_the_pixels(chosen) -> None:
    ranked, random = chosen()[0], next(arm for arm in chosen(random_layers=1) if arm.kind == "random")
    assert random.width == ranked.width == ranked.store.specs["structured_mid"].width
    assert random.layer == "pixels"


def test_clips_are_as_wide_as_their_pixels(chosen) -> None:
    (clips,) = (arm for arm in chosen(cnn=True) if arm.layer == CLIPS)
    height, width, channels = clips.store.identity["preprocessing"]["frame_shape"]
    assert clips.width == len(clips.store.identity["recipe"]["offsets"]) * height * width * channels


@pytest.mark.parametrize("name", ["blocks.2 (untrained) + mlp", "a/b\\c", "ü·x", "  ", "..", "block.3/mean"])
def test_a_folder_is_a_name_that_any_file_system_takes(synthetic_store, name) -> None:
    folder = ArmSpec(name, "any", "pixels", synthetic_store, "mlp", (), None).folder
    assert re.fullmatch(r"[A-Za-z0-9._-]+", folder)
    assert folder not in {".", "..", ""}


def test_in_the_loop_every_control_stands_beside_the_best_block(chosen) -> None:
    arms = in_loop_arms(chosen(), settings("s", "o", "r"))
    assert [arm.name for arm in arms] == ["structured_mid", *IN_LOOP_CONTROLS.values()]
    assert [arm.kind for arm in arms] == ["ranked", *IN_LOOP_CONTROLS]
    assert {arm.layer for arm in arms} == {"structured_mid"}
    assert [arm.score for arm in arms] == [0.5, None, None, None, None]


def test_in_the_loop_all_layers_come_after_the_controls(chosen) -> None:
    config = settings("s", "o", "r").model_copy(update={"all_layers": True})
    arms = in_loop_arms(chosen(), config)
    assert [arm.name for arm in arms] == ["structured_mid", *IN_LOOP_CONTROLS.values(), "random_narrow"]


def test_in_the_loop_heads_are_a_factor_of_every_control(chosen) -> None:
    names = [arm.name for arm in in_loop_arms(chosen(heads=("linear", "mlp")), settings("s", "o", "r"))]
    assert names == [f"{name} + {head}" for head in ("linear", "mlp") for name in ("structured_mid", *IN_LOOP_CONTROLS.values())]


def test_in_the_loop_arms_of_one_folder_are_refused(chosen) -> None:
    arms = [replace(chosen()[0], name=name, layer=name, kind=kind) for name, kind in (("a b", "ranked"), ("a-b", "layer"))]
    config = settings("s", "o", "r").model_copy(update={"all_layers": True})
    with pytest.raises(DataError, match="the results of 'a b' and of 'a-b' would lie in one folder, a-b"):
        in_loop_arms(arms, config)


def test_in_the_loop_without_a_ranked_layer_is_refused(chosen) -> None:
    with pytest.raises(UsageError, match="needs a ranked layer"):
        in_loop_arms([arm for arm in chosen() if arm.kind != "ranked"], settings("s", "o", "r"))


def test_all_layers_need_the_ranking_that_the_selection_names(chosen) -> None:
    with pytest.raises(DataError, match="all layers were asked for, and the ranking cannot be read"):
        chosen(all_layers=True)
