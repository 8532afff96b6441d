"""Every setting of an extraction, and every value by which a video model describes itself, changes the store's identity or says why not.

A field that is added without an entry here fails the walk: decide whether it changes numbers, and write that down.
"""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import frames_by_hand
import pytest
import torch
from safetensors.torch import save_file

from layerscout.cache.identity import identity_digest, run_key
from layerscout.extract import plan as extraction
from layerscout.extract.backbones import base
from layerscout.extract.backbones.denoisers.cogvideox import CogVideoXOptions
from layerscout.extract.backbones.finding import find_backbone
from layerscout.extract.config import ExtractConfig

OPTIONS = {"frames": 5, "size": [32, 32]}

# field → other values; each must give an identity of its own
CHANGES: dict[str, list[Any]] = {
    "backbone": ["tiny", "tiny-untrained", "cogvideox:{five}"],
    "data": ["{other}"],
    "layers": [["transformer_blocks.1"], ["transformer_blocks.2", "transformer_blocks.1"]],
    "pooling": ["last/mean", ["last/mean", "all/mean"], ["all/mean", "last/mean"]],
    "dtype": ["float32", "bfloat16"],
    "compute": ["bfloat16", "float16"],
    "compile": [True],
    "denoising_error": [True],
    "backbone_options": [OPTIONS | {"frames": 9}, OPTIONS | {"size": [32, 48]}, OPTIONS | {"sigma": 0.3}, OPTIONS | {"text": "{text}"}],
}
# options of the backbone that no other value of can be tried with this checkpoint, and why
UNTRIED = {
    "regime": "a text-to-video checkpoint knows one only; others are refused",
    "future": "slots of noise exist in the other regime only",
}
# field → another value, and why the numbers are the same, or as near as two runs of one store may be
EXEMPT: dict[str, tuple[Any, str]] = {
    "root": ("/elsewhere", "where the store lies"),
    "name": ("best", "what people call it"),
    "batch": (3, "rows are computed independently; the order of a sum may differ in the last bit"),
    "latents": (True, "the same latents, read instead of computed"),
    "passport_clips": (0, "what is kept beside the activations"),
    "scheduler": ("local:2", "the same units, computed elsewhere"),
    "threads": (1, "rows are computed independently"),
    "device": ("cuda", "the same float32 arithmetic up to the order of sums; the manifest tells which"),
    "rows_per_chunk": (7, "how rows are cut into files"),
    "codec": ("zstd", "how files are packed; without loss"),
}


@pytest.fixture(scope="module")
def places(tmp_path_factory, checkpoints) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("walk")
    data = frames_by_hand.write(folder / "data.h5", frames_by_hand.random_episodes((4, 3)))
    other = frames_by_hand.write(folder / "other.h5", frames_by_hand.random_episodes((4, 3), seed=1))
    save_file({"prompt_embeds": torch.ones(4, 8)}, folder / "text.safetensors")
    named = {"data": data, "other": other, "two": checkpoints.two, "five": checkpoints.five, "root": folder / "root"}
    named["text"] = folder / "text.safetensors"
    return {name: str(path) for name, path in named.items()}


def identity(places: dict[str, str], **changes: Any) -> dict[str, Any]:
    chosen = {"backbone": "cogvideox:{two}", "data": "{data}", "root": "{root}", "backbone_options": OPTIONS} | changes
    if not str(chosen["backbone"]).startswith("cogvideox"):
        chosen["backbone_options"] = {}
    options = {name: value.format(**places) if isinstance(value, str) else value for name, value in chosen.pop("backbone_options").items()}
    filled = {name: value.format(**places) if isinstance(value, str) else value for name, value in chosen.items()}
    filled["backbone_options"] = options
    return extraction.plan(ExtractConfig.model_validate(filled)).identity


def test_every_setting_has_its_entry():
    assert CHANGES.keys() | EXEMPT.keys() == ExtractConfig.model_fields.keys()
    assert not CHANGES.keys() & EXEMPT.keys()
    assert all(f"``{name}``" in str(ExtractConfig.__doc__) for name in EXEMPT), "the exempt ones are named where people read of settings"
    varied = {name for value in CHANGES["backbone_options"] for name in value if value[name] != OPTIONS.get(name)}
    assert varied | UNTRIED.keys() == CogVideoXOptions.model_fields.keys(), "every option of the backbone is tried"


def test_every_setting_that_changes_numbers_gives_another_identity(places):
    before = identity(places)
    found = [(field, value, identity(places, **{field: value})) for field, values in CHANGES.items() for value in values]
    digests = [identity_digest(before), *(identity_digest(one) for _, _, one in found)]
    assert len(set(digests)) == len(digests)
    for field, value, one in found:
        assert (run_key(one) == run_key(before)) == (field == "layers"), (field, value)


@pytest.mark.parametrize("field", EXEMPT)
def test_every_exempt_setting_gives_the_same_identity(places, field, monkeypatch):
    monkeypatch.setattr(extraction, "check_device", lambda device: None)  # planning needs no such device
    value, reason = EXEMPT[field]
    assert reason
    assert identity(places, **{field: value}) == identity(places)


# --- what a video model says of itself

MODEL = find_backbone("tiny")
DESCRIPTION: dict[str, list[Any]] = {
    "name": ["other"],
    "clip": [
        replace(MODEL.clip, offsets=(-5, -1, 0)),
        replace(MODEL.clip, frame_shape=(16, 32, 3)),
    ],
    "layers": [
        (replace(MODEL.layers[0], name="first"), *MODEL.layers[1:]),
        (replace(MODEL.layers[0], module="embedding"), *MODEL.layers[1:]),
        (replace(MODEL.layers[0], width=3), *MODEL.layers[1:]),
        MODEL.layers[1:],
        MODEL.layers[::-1],
    ],
    "default_pooling": ["all/mean"],
    "identity": [{**MODEL.identity, key: "changed"} for key in MODEL.identity],
    "weights_digest": [lambda: "sha256:00"],
}
DESCRIPTION_EXEMPT = {
    "grid": "it follows from the class, its architecture and the clip, which are named",
    "class_token": "whether the pooling cls is possible; it follows from the class",
    "latent_shape": "it follows from the class, its architecture and the clip",
    "seen": "told to people and to the alignment of rewards, not computed with",
    "load": "it runs what the other values describe",
    "code": "its answer is in the identity of a backbone that is somebody's own (test_own_module)",
    "own": "whether the answer of code is in the identity",
    "weights": "where the weights lie and what of them is here; their digest is named",
}
PARTS_EXEMPT = {
    base.ClipSpec: {"resize": "whether frames of another size are refused; the fingerprint holds what became of the frames"},
    base.LayerInfo: {
        "depth": "the order of layers is the list's",
        "parameters": "told to people, not computed with",
        "grid": "it follows from the class, its architecture and the clip, which are named",
    },
}


def digest_with(places: dict[str, str], monkeypatch: pytest.MonkeyPatch, **changes: Any) -> str:
    with monkeypatch.context() as patch:
        patch.setattr(extraction, "find_backbone", lambda name, options: replace(MODEL, **changes))
        return identity_digest(identity(places, backbone="tiny"))


def test_everything_that_a_model_says_of_itself_is_in_the_identity(places, monkeypatch):
    assert DESCRIPTION.keys() | DESCRIPTION_EXEMPT.keys() == {field.name for field in fields(base.Backbone)}
    changes = [{field: value} for field, values in DESCRIPTION.items() for value in values]
    digests = [digest_with(places, monkeypatch, **change) for change in ({}, *changes)]
    assert len(set(digests)) == len(digests)


@pytest.mark.parametrize(("kind", "part"), [(base.ClipSpec, MODEL.clip), (base.LayerInfo, MODEL.layers[0])], ids=["clip", "layer"])
def test_every_field_of_a_description_was_tried_or_is_exempt(kind, part):
    values = DESCRIPTION["clip"] if kind is base.ClipSpec else [value[0] for value in DESCRIPTION["layers"][:3]]
    tried = {field.name for field in fields(kind) for value in values if getattr(value, field.name) != getattr(part, field.name)}
    assert tried | PARTS_EXEMPT[kind].keys() == {field.name for field in fields(kind)}
    assert not tried & PARTS_EXEMPT[kind].keys()


def test_an_identity_is_plain_and_holds_no_path(places):
    text = json.dumps(identity(places))
    assert not [path for path in places.values() if path in text or Path(path).name in text]
