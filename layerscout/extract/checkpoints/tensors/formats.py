"""Names and types of stored tensors in, how their numbers are meant out: as they stand, times a scale, or in a format that is not read.

A checkpoint may hold 8-bit numbers whose values are number x scale, with the scale in a tensor beside them. Read as they stand they
are wrong by orders of magnitude, and no library says so. Two spellings of one plain layout are read here: ``M.weight`` with
``M.weight_scale`` (vLLM, compressed-tensors, LTX) or with ``M.scale_weight`` (ComfyUI), one scale for the tensor or one a row.
Everything else is refused by the name of its format, as are adapters that lie unmerged beside the weights.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from layerscout.errors import DataError
from layerscout.extract.checkpoints.weight_set import MERGE

FLOAT8 = ("F8_E4M3", "F8_E5M2")
SCALED = (*FLOAT8, "I8")  # types whose values may be number x scale
SCALE_TYPES = ("F64", "F32", "F16", "BF16")
PACKED = ("F4", "F6_E2M3", "F6_E3M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ")  # numbers that torch has no arithmetic for
DEQUANTISE = (
    "save the model in bfloat16 (load it with its own library, dequantize(), save_pretrained), or take the checkpoint that is not quantised"
)
PLAIN_METHODS = {"compressed-tensors": ("float-quantized", "int-quantized", "naive-quantized")}  # whose layout is the plain one
FORMATS = {  # what the last part of a name looks like → the format that names tensors so; the particular ones first
    r"SCB|CB|weight_format|(nested_)?(absmax|quant_map)|quant_state\..*": "bitsandbytes",
    r"wscales|wcscales|wtscale|smooth_factor(_orig)?": "SVDQuant (nunchaku)",
    r"svd_(up|down)": "SDNQ",
    r"codebooks|codes": "AQLM",
    r"centroids|res_centroids": "VPTQ",
    r"(weight_|proj_)?blocks": "MXFP4",
    r"weight_scale_2": "NVFP4 (ModelOpt)",
    r"weight_(packed|shape|zero_point|g_idx|global_scale)|input_(zero_point|global_scale)": "compressed-tensors",
    r"weight_scale_inv": "block-wise float8",
    r"_?weight_qdata|_weight_scale|.*:(qdata|scale|zero_point)|tensor_impl\..*": "torchao",
    r"_(data|scale|shift|packed)|qtype": "quanto",
    r"W_q|W_s|W_z": "HQQ",
    r"weight_scales": "EETQ",
    r"ggml_type|gguf_.*": "GGUF",
    r"qweight|qzeros|g_idx|scales": "GPTQ or AWQ",
}
# activation scales: they only say how to compute in 8 bits, which is not done here
PASSING = ("input_scale", "scale_input", "output_scale", "scale_output")
MARKERS = ("scaled_fp8",)  # says that scales lie beside
NOTES = ("comfy_quant",)  # a small JSON document for each weight, which names its format
ADAPTER = re.compile(
    r"(^|[._])(lora|loha|lokr|dora|vera|boft|oft|hada|ia3)([._]|$)|(^|\.)(base_layer|modules_to_save|original_module)(\.|$)|^base_model\.model\."
)
GGUF_NAMES = re.compile(r"^(blk|token_embd|output_norm|enc\.blk|dec\.blk)\.")


class Described(Protocol):
    """What is known of a tensor: its type as safetensors names it, and its shape."""

    @property
    def dtype(self) -> str:
        """The type's name in a safetensors header, for example "BF16"."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of its axes; none for a single number."""


@dataclass(frozen=True)
class NumberLayout:
    """Which stored tensors are values of a model, and how.

    ``scales`` is weight → the tensor that its numbers are multiplied by, ``passing`` the names that carry no value of the model.
    """

    scales: dict[str, str] = field(default_factory=dict)
    passing: frozenset[str] = frozenset()

    @property
    def described(self) -> str | None:
        """What an identity says of it: None where numbers stand as they are."""
        kinds = sorted({name.rpartition(".")[2] for name in self.scales.values()})
        return f"times {' and '.join(kinds)}" if kinds else None

    def values(self, names: Iterable[str]) -> list[str]:
        """Keep the names that are values of the model: neither a scale of others nor one that carries nothing."""
        beside = {*self.scales.values(), *self.passing}
        return [name for name in names if name not in beside]


def check_configuration(config: Mapping[str, Any], where: str) -> None:
    """Refuse a configuration that says that the weights are quantised, unless it is in the plain layout.

    Raises
    ------
    DataError
        It names another method.
    """
    stated = config.get("quantization_config")
    if not stated:
        return
    method = (
        str(stated.get("quant_method") or ("bitsandbytes" if any("bit" in key for key in stated) else ""))
        if isinstance(stated, dict)
        else str(stated)
    )
    if isinstance(stated, dict) and stated.get("format") in PLAIN_METHODS.get(method, ()) and _symmetric(stated):
        return
    raise _refused(where, method or "a method that it does not name")


def read_layout(
    names: Iterable[str], known: Mapping[str, Described], where: str, metadata: Mapping[str, Any] | None = None
) -> NumberLayout:
    """Tell scales from weights.

    Parameters
    ----------
    names
        Of all stored tensors.
    known
        Types and shapes of those whose file's header was read.
    where
        What errors call the weights.
    metadata
        What the header holds beside the tensors.

    Raises
    ------
    DataError
        The numbers are in a format that is not read, a scale has a shape that is none of the plain ones, some weights have a
        scale and others of the same type have none, or an adapter lies beside.
    """
    held = set(names)
    if any(word in str(stated) for stated in (metadata or {}).values() for word in ("torchao", "Float8Tensor", "AffineQuantized")):
        raise _refused(where, "torchao")
    if any("gguf" in str(key).lower() for key in metadata or ()) or any(GGUF_NAMES.match(name) for name in held):
        raise _refused(where, "GGUF")
    scales = {weight: name for name in sorted(held) for weight in _weights_of(name) if weight in held}
    beside = set(scales.values())
    modules = {weight.rpartition(".")[0] for weight in scales}
    notes = {name for name in held if _leaf(name) in NOTES}
    passing = {name for name in held - beside if _leaf(name) in MARKERS or (_leaf(name) in PASSING and name.rpartition(".")[0] in modules)}
    for pattern, kind in FORMATS.items():
        ending = re.compile(rf"(^|\.)({pattern})$")
        if found := sorted(name for name in held - beside - passing - notes if ending.search(name)):
            raise _refused(where, kind, found[0])
    eight_bits = {name for name, item in known.items() if item.dtype in SCALED}
    eight_bits |= {name.rpartition(".")[0] for name in eight_bits}  # a scale lies beside its weight, or below it
    others = (name for name in held - beside - passing - notes - set(scales) if "scal" in _leaf(name))
    if found := sorted(name for name in others if name.rpartition(".")[0] in eight_bits):
        raise _refused(where, "a format that calls its scales otherwise", found[0])
    if adapters := sorted(name for name in held if ADAPTER.search(name)):
        raise DataError(f"{where} holds {_counted(adapters)} of an adapter that is not merged", hint=MERGE)
    _check_types(scales, passing | notes, known, where)
    return NumberLayout(scales, frozenset(passing | notes))


def check_note(content: bytes, name: str, where: str) -> None:
    """Refuse the format that a weight's own note names, unless it is float8 with one scale.

    Raises
    ------
    DataError
        It is another one, or no note.
    """
    match = re.search(rb'"format"\s*:\s*"([\w.-]*)"', content)
    kind = match[1].decode() if match else "a format that its note does not name"
    if kind not in ("float8_e4m3fn", "float8_e5m2"):
        raise _refused(where, kind, name)


def notes_of(layout: NumberLayout) -> list[str]:
    """Return the names of the notes that `check_note` reads."""
    return sorted(name for name in layout.passing if _leaf(name) in NOTES)


def _weights_of(scale: str) -> list[str]:
    """Return the names of the weight that a tensor of this name would be the scale of."""
    module, _, leaf = scale.rpartition(".")
    inside = f"{module}." if module else ""
    if leaf.endswith("_scale") and leaf not in PASSING:
        return [inside + leaf.removesuffix("_scale")]
    return [inside + leaf.removeprefix("scale_")] if leaf.startswith("scale_") and leaf not in PASSING else []


def _check_types(scales: Mapping[str, str], passing: set[str], known: Mapping[str, Described], where: str) -> None:
    for name, item in known.items():
        if item.dtype in PACKED and name not in scales.values():
            raise _refused(where, f"packed {item.dtype}", name)
    for weight, scale in scales.items():
        if weight in known and known[weight].dtype not in SCALED:
            raise _refused(where, f"{known[weight].dtype} numbers with a scale beside", weight)
        if scale in known:
            check_scale(scale, known[scale], known.get(weight), where)
    beside = {*scales.values(), *passing}
    bare = [name for name, item in known.items() if item.dtype in (*SCALED, "U8") and name not in scales and name not in beside]
    if bare and scales:
        raise DataError(
            f"{where}: {len(scales)} weights have a scale, and {_counted(bare)} of the same kind have none",
            hint="the file lost some of its scales: download the checkpoint again",
        )
    if integers := [name for name in bare if known[name].dtype not in FLOAT8]:
        raise _refused(where, f"a packed format ({known[integers[0]].dtype} numbers without a scale)", integers[0])


def check_scale(name: str, item: Described, weight: Described | None, where: str) -> None:
    """Refuse a scale that is not one number for the tensor or for each of its rows.

    Raises
    ------
    DataError
        Its type or shape is another.
    """
    if item.dtype not in SCALE_TYPES:
        raise _refused(where, f"a scale of type {item.dtype}", name)
    if weight is None or not weight.shape:
        return
    rows = (weight.shape[0], (weight.shape[0], *[1] * (len(weight.shape) - 1)))
    if item.shape not in ((), (1,), tuple([1] * len(weight.shape)), (rows[0],), rows[1]):
        raise _refused(where, f"a scale of shape {list(item.shape)} for numbers of shape {list(weight.shape)}", name)


def _symmetric(stated: Mapping[str, Any]) -> bool:
    """Tell whether all weights are 8-bit, without zero points, with one scale a tensor or a row."""
    groups = stated.get("config_groups") or {}
    weights = [group.get("weights") or {} for group in groups.values()] if isinstance(groups, dict) else []
    return all(
        group.get("num_bits", 8) == 8 and group.get("symmetric", True) and group.get("strategy", "tensor") in ("tensor", "channel")
        for group in weights
    )


def _refused(where: str, kind: str, name: str = "") -> DataError:
    first = f", first {name}" if name else ""
    return DataError(f"{where} is quantised by {kind}{first}; that is not read", hint=DEQUANTISE)


def _counted(names: list[str]) -> str:
    return f"{len(names)} tensor{'s' * (len(names) > 1)} ({', '.join(sorted(names)[:3])}{', …' * (len(names) > 3)})"


def _leaf(name: str) -> str:
    return name.rpartition(".")[2]
