"""The transformer of ``tiny``: diffusers' CogVideoXTransformer3DModel with the options that it has, and nothing else of diffusers.

Importing one model class of diffusers takes three seconds of CPU and 200 MB, more than the model itself needs for thousands of clips.
Names, initialisation and every bit of what it computes are those of diffusers' class, which is the oracle in the tests.
"""

from __future__ import annotations

import json
import math
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from layerscout.extract.backbones.networks.tiny import scratch

Joint = Float[Tensor, "clip token feature"]  # text tokens, then video tokens

CONFIGURATION: dict[str, Any] = {  # what diffusers' class is called and has, where ``tiny`` does not say otherwise
    "_class_name": "CogVideoXTransformer3DModel",
    "activation_fn": "gelu-approximate",
    "attention_bias": True,
    "dropout": 0.0,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "max_text_seq_length": 226,
    "norm_elementwise_affine": True,
    "norm_eps": 1e-05,
    "ofs_embed_dim": None,
    "patch_bias": True,
    "patch_size_t": None,
    "spatial_interpolation_scale": 1.875,
    "temporal_interpolation_scale": 1.0,
    "timestep_activation_fn": "silu",
    "use_learned_positional_embeddings": False,
    "use_rotary_positional_embeddings": False,
}


class TinyTransformer(nn.Module):
    """Frames, a text embedding and a timestep in, the predicted clean frames out.

    Parameters
    ----------
    architecture
        Arguments of diffusers' class; one latent frame is one frame.
    """

    def __init__(self, architecture: dict[str, Any]) -> None:
        super().__init__()
        self.architecture = architecture
        width = architecture["num_attention_heads"] * architecture["attention_head_dim"]
        time, patch, eps = architecture["time_embed_dim"], architecture["patch_size"], CONFIGURATION["norm_eps"]
        self.patch_embed = PatchEmbedding(architecture, width)
        self.time_embedding = TimeEmbedding(width, time)
        self.transformer_blocks = nn.ModuleList(
            [
                CogVideoXBlock(width, architecture["num_attention_heads"], architecture["attention_head_dim"], time, eps)
                for _ in range(architecture["num_layers"])
            ]
        )
        self.norm_final = nn.LayerNorm(width, eps)
        self.norm_out = LastNorm(time, width, eps)
        self.proj_out = nn.Linear(width, patch * patch * architecture["out_channels"])

    def forward(
        self, hidden_states: Float[Tensor, "clip time channel height width"], encoder_hidden_states: Tensor, timestep: Tensor
    ) -> Float[Tensor, "clip time channel height width"]:
        """Predict clean frames of the shape of ``hidden_states``; the text is [clip, token, feature], timesteps one a clip."""
        patch, (count, time, _, height, width) = self.architecture["patch_size"], hidden_states.shape
        tokens, embedded = self.run_blocks(hidden_states, encoder_hidden_states, timestep)
        patches = self.proj_out(self.norm_out(self.norm_final(tokens), embedded))
        patches = patches.reshape(count, time, height // patch, width // patch, -1, patch, patch)
        return patches.permute(0, 1, 4, 2, 5, 3, 6).flatten(5, 6).flatten(3, 4)

    def run_blocks(self, hidden_states: Tensor, encoder_hidden_states: Tensor, timestep: Tensor) -> tuple[Tensor, Tensor]:
        """Run all blocks; return the video tokens behind them and the embedding of the timestep."""
        embedded = self.time_embedding(timestep, hidden_states.dtype)
        joint, text = self.patch_embed(encoder_hidden_states, hidden_states), encoder_hidden_states.shape[1]
        encoder_hidden_states, hidden_states = joint[:, :text], joint[:, text:]
        for block in self.transformer_blocks:
            hidden_states, encoder_hidden_states = block(
                hidden_states=hidden_states,
                encoder_hidden_states=encoder_hidden_states,
                temb=embedded,
                image_rotary_emb=None,
                attention_kwargs=None,
            )
        return hidden_states, embedded

    def to_json_string(self) -> str:
        """Return the configuration as diffusers writes it, from which diffusers builds the same model."""
        return json.dumps(CONFIGURATION | self.architecture, sort_keys=True)


class PatchEmbedding(nn.Module):
    """Patches and text to tokens of one width, with fixed positions in time, height and width added."""

    pos_embedding: Tensor

    def __init__(self, architecture: dict[str, Any], width: int) -> None:
        super().__init__()
        patch, self.text = architecture["patch_size"], architecture["max_text_seq_length"]
        self.proj = nn.Conv2d(architecture["in_channels"], width, patch, patch)
        self.text_proj = nn.Linear(architecture["text_embed_dim"], width)
        cells = (architecture["sample_frames"], architecture["sample_height"] // patch, architecture["sample_width"] // patch)
        positions = fixed_positions(width, *cells, scale=CONFIGURATION["spatial_interpolation_scale"])
        self.register_buffer("pos_embedding", torch.cat([positions.new_zeros(self.text, width), positions])[None], persistent=False)

    def forward(self, text: Tensor, frames: Tensor) -> Joint:
        """Text tokens, then the patches of all frames in the order time, row, column, with positions added to both."""
        tokens = self.proj(frames.flatten(0, 1)).unflatten(0, frames.shape[:2]).flatten(3).transpose(2, 3).flatten(1, 2)
        return torch.cat([self.text_proj(text), tokens], dim=1) + self.pos_embedding.to(tokens.dtype)


def fixed_positions(width: int, frames: int, rows: int, columns: int, scale: float) -> Float[Tensor, "token feature"]:
    """Return sine and cosine positions in float64: a quarter of the features for time, three eighths each for column and row.

    Parameters
    ----------
    scale
        How many cells are one unit.
    """
    row, column = (torch.arange(count, dtype=torch.float32) / scale for count in (rows, columns))
    place = torch.cartesian_prod(row, column)
    space = torch.cat([_waves(3 * width // 8, place[:, 1]), _waves(3 * width // 8, place[:, 0])], dim=1)
    time = _waves(width // 4, torch.arange(frames, dtype=torch.float32))
    return torch.cat([time.repeat_interleave(len(space), dim=0), space.repeat(frames, 1)], dim=1)


def _waves(width: int, places: Float[Tensor, " place"]) -> Float[Tensor, "place feature"]:
    rates = torch.arange(width // 2, dtype=torch.float64)
    rates /= width / 2.0
    angles = torch.outer(places, 1.0 / 10000**rates)
    return torch.cat([torch.sin(angles), torch.cos(angles)], dim=1)


class TimeEmbedding(nn.Module):
    """A timestep to the vector that modulates every block."""

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.width = width
        self.linear_1 = nn.Linear(width, outputs)
        self.linear_2 = nn.Linear(outputs, outputs)

    def forward(self, timestep: Float[Tensor, " clip"], dtype: torch.dtype) -> Float[Tensor, "clip feature"]:
        """Sines and cosines of the time at rates from 1 to 1/10,000, through two linear maps."""
        half = self.width // 2
        rates = torch.exp(-math.log(10000) * torch.arange(half, dtype=torch.float32, device=timestep.device) / half)
        angles = timestep[:, None].float() * rates[None]
        waves = torch.cat([torch.cos(angles), torch.sin(angles)], dim=-1).to(dtype)
        return self.linear_2(F.silu(self.linear_1(waves)))


class ModulatedNorm(nn.Module):
    """A norm whose scale and shift, and a gate for what follows, follow from the timestep; text and video have their own."""

    def __init__(self, time_width: int, width: int, eps: float) -> None:
        super().__init__()
        self.linear = nn.Linear(time_width, 6 * width)
        self.norm = nn.LayerNorm(width, eps)

    def forward(self, video: Tensor, text: Tensor, time: Tensor) -> tuple[Joint, Tensor, Tensor]:
        """Return the modulated tokens, text first, and the gates of video and of text."""
        shift, scale, gate, text_shift, text_scale, text_gate = self.linear(F.silu(time))[:, None].chunk(6, dim=2)
        parts = self.norm(text) * (1 + text_scale) + text_shift, self.norm(video) * (1 + scale) + shift
        return torch.cat(parts, dim=1), gate, text_gate


class LastNorm(nn.Module):
    """Layer normalisation before the last projection, scaled and shifted by the time."""

    def __init__(self, time_width: int, width: int, eps: float) -> None:
        super().__init__()
        self.linear = nn.Linear(time_width, 2 * width)
        self.norm = nn.LayerNorm(width, eps)

    def forward(self, tokens: Tensor, time: Tensor) -> Tensor:
        """Normalise every token, then scale and shift it by what the time says."""
        shift, scale = self.linear(F.silu(time))[:, None].chunk(2, dim=2)
        return self.norm(tokens) * (1 + scale) + shift


class JointAttention(nn.Module):
    """Attention of all tokens to all; queries and keys are normalised head by head."""

    def __init__(self, width: int, heads: int, head: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_q, self.norm_k = nn.LayerNorm(head, 1e-6), nn.LayerNorm(head, 1e-6)
        self.to_q, self.to_k, self.to_v = (nn.Linear(width, heads * head) for _ in range(3))
        self.to_out = nn.ModuleList([nn.Linear(heads * head, width), nn.Dropout(0.0)])

    def forward(self, joint: Joint) -> Joint:
        """Mix the values of all tokens, text before video, by how well queries and keys agree."""
        query, key, value = (project(joint).unflatten(2, (self.heads, -1)).transpose(1, 2) for project in (self.to_q, self.to_k, self.to_v))
        mixed = F.scaled_dot_product_attention(self.norm_q(query), self.norm_k(key), value)
        return self.to_out[0](mixed.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """Four times as wide inside, with the tanh form of GELU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        inside = nn.Module()
        inside.proj = nn.Linear(width, 4 * width)
        self.net = nn.ModuleList([inside, nn.Dropout(0.0), nn.Linear(4 * width, width), nn.Dropout(0.0)])

    def forward(self, joint: Joint) -> Joint:
        """Widen, apply GELU and narrow every token by itself."""
        inside: Any = self.net[0]
        return self.net[2](F.gelu(inside.proj(joint), approximate="tanh"))


class CogVideoXBlock(nn.Module):
    """One block, called and named as diffusers' is: video and text tokens in, both out.

    While a pass has scratch memory (see ``scratch``) it runs with fewer copies and without asking for memory; each number is
    computed in the same order, so the bits are the same.
    """

    def __init__(self, width: int, heads: int, head: int, time_width: int, eps: float) -> None:
        super().__init__()
        self.norm1 = ModulatedNorm(time_width, width, eps)
        self.attn1 = JointAttention(width, heads, head)
        self.norm2 = ModulatedNorm(time_width, width, eps)
        self.ff = FeedForward(width)

    def forward(
        self,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        temb: Tensor,
        image_rotary_emb: Any = None,
        attention_kwargs: dict[str, Any] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Video and text tokens after attention and feed-forward; ``attention_kwargs`` and rotary positions are not used."""
        text = encoder_hidden_states.shape[1]
        if (memory := scratch.of_this_pass(hidden_states)) is not None:
            joint = self._in_place(scratch.joined(encoder_hidden_states, hidden_states), text, temb, memory)
            return joint[:, text:], joint[:, :text]
        for norm, part in ((self.norm1, self.attn1), (self.norm2, self.ff)):
            normed, gate, text_gate = norm(hidden_states, encoder_hidden_states, temb)
            change = part(normed)
            hidden_states = hidden_states + gate * change[:, text:]
            encoder_hidden_states = encoder_hidden_states + text_gate * change[:, :text]
        return hidden_states, encoder_hidden_states

    def _in_place(self, joint: Joint, text: int, time: Tensor, memory: scratch.Scratch) -> Joint:
        for norm, part in ((self.norm1, self._attention), (self.norm2, self._feed_forward)):
            shift, scale, gate, text_shift, text_scale, text_gate = norm.linear(F.silu(time))[:, None].chunk(6, dim=2)
            normed = norm.norm(joint)
            normed[:, text:].mul_(1 + scale).add_(shift)
            normed[:, :text].mul_(1 + text_scale).add_(text_shift)
            change = part(normed, memory)
            change[:, text:].mul_(gate)
            change[:, :text].mul_(text_gate)
            joint = joint + change  # memory of its own: whoever looks at a block may keep what it put out
        return joint

    def _attention(self, normed: Joint, memory: scratch.Scratch) -> Joint:
        attention, rows = self.attn1, normed.flatten(0, 1)
        query, key, value = (
            memory.linear(project, rows, name).view(*normed.shape[:2], attention.heads, -1)
            for project, name in ((attention.to_q, "query"), (attention.to_k, "key"), (attention.to_v, "value"))
        )
        query, key, value = (part.transpose(1, 2) for part in (attention.norm_q(query), attention.norm_k(key), value))
        mixed = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        output: Any = attention.to_out[0]
        return memory.linear(output, mixed.flatten(0, 1), "change").view(normed.shape)

    def _feed_forward(self, normed: Joint, memory: scratch.Scratch) -> Joint:
        inside: Any = self.ff.net[0]
        last: Any = self.ff.net[2]
        wide = memory.linear(inside.proj, normed.flatten(0, 1), "wide")
        torch.ops.aten.gelu_(wide, approximate="tanh")
        return memory.linear(last, wide, "change").view(normed.shape)
