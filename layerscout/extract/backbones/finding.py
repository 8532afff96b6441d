"""A backbone's name, source and options in, its description out: trained, or the same architecture as a control without training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from layerscout import registry
from layerscout.cache.remote.address import check_address
from layerscout.errors import UsageError
from layerscout.extract.backbones.base import Backbone

if TYPE_CHECKING:
    from layerscout.extract.backbones.loaded import LoadedBackbone

SEED = 0  # of the weights of a control
WEIGHTS = ("trained", "reinitialised", "shuffled")


def find_backbone(spec: str, options: dict[str, Any] | None = None) -> Backbone:
    """Describe the backbone ``NAME``, ``NAME:SOURCE``, or somebody's own ``module:function`` with or without ``:SOURCE``; loads no weights.

    The option ``weights`` is every backbone's: ``trained``, ``reinitialised`` or ``shuffled`` (see ``untrained``).

    Raises
    ------
    UsageError
        No such backbone, or it does not take this source or these options; or the source is an address with a password or a query.
    """
    name, source = registry.split_source("backbone", spec)
    check_address(source or "")  # before it is printed, or kept with a store
    own = dict(options or {})
    weights = own.pop("weights", "trained")
    build = registry.load_entry("backbone", name)
    if registry.is_ours("backbone", name):
        return with_weights(build(source, own), weights)
    place = registry.names("backbone").get(name, name)
    expected = (
        f"{place.rpartition(':')[2]}(source, options), which returns a layerscout.extract.backbones.base.Backbone, as from_module does"
    )
    found = registry.made_by_own(f"backbone '{name}'", build, source, own, expected=expected, fits=lambda made: isinstance(made, Backbone))
    return with_weights(named_by_code(found, build), weights)


def named_by_code(backbone: Backbone, build: Callable[..., Any]) -> Backbone:
    """Return a backbone of somebody's own with the digest of its code in its identity (see ``own_code``).

    Parameters
    ----------
    build
        What described it; the text of its file counts where the backbone does not tell its own classes.
    """
    from layerscout.extract.backbones.own_code import text_around

    code = text_around(build) if backbone.code is None else backbone.code()
    return replace(backbone, own=True, identity={**backbone.identity, "code": code})


def with_weights(backbone: Backbone, kind: str) -> Backbone:
    """Return the backbone with its denoiser's or encoder's weights ``trained``, ``reinitialised`` or ``shuffled``.

    What stands before it stays trained: a VAE is preprocessing. The control is another backbone, with an identity of its own.

    Raises
    ------
    UsageError
        There is no such kind of weights.
    """
    if kind == "trained":
        return backbone
    if kind not in WEIGHTS:
        raise UsageError(f"weights '{kind}' are not known", hint=f"--set extract.backbone_options.weights={' | '.join(WEIGHTS)}")

    def load(*device_and_dtype: Any, **named: Any) -> LoadedBackbone:
        from layerscout.extract.backbones.untrained import redraw, shuffle

        loaded = backbone.load(*device_and_dtype, **named)
        change = redraw if kind == "reinitialised" else shuffle
        change(loaded.module, SEED)
        return loaded

    # with redrawn weights the digest of the trained ones says nothing but which file was there to be replaced; it keeps the identity safe
    return replace(backbone, identity={**backbone.identity, "weights": f"{kind}, seed {SEED}"}, load=load)
