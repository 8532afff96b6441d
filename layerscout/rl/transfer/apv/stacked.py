"""Windows of what was played in, what is learned from them out: the action-conditional model, stacked on the action-free one or on the frames themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn

from layerscout.rl.transfer.apv.action_free import ActionFree
from layerscout.rl.transfer.apv.agent_config import DreamerConfig
from layerscout.rl.transfer.apv.config import APVModelConfig
from layerscout.rl.transfer.apv.heads import discount_loss, mlp, reward_loss
from layerscout.rl.transfer.apv.latents import balanced_divergence
from layerscout.rl.transfer.apv.pictures import PictureDecoder, PictureEncoder, picture_loss, scaled
from layerscout.rl.transfer.apv.rssm import RSSM, Seen


class PlayedWindows(NamedTuple):
    """Windows of steps: each frame with the action that led to it, the reward on arrival, whether the task ended there, whether an episode begins."""

    frames: UInt8[Tensor, "window time height width channel"]
    actions: Float[Tensor, "window time action"]
    rewards: Float[Tensor, "window time"]
    terminated: Bool[Tensor, "window time"]
    first: Bool[Tensor, "window time"]


class WorldLosses(NamedTuple):
    """Parts of the loss, in nats, by name, what the steps were taken for, and the bonus that was learned with the reward."""

    parts: dict[str, Float[Tensor, ""]]
    total: Float[Tensor, ""]
    top: Seen
    bonus: Float[Tensor, "window early"] | None


class WorldModel(nn.Module):
    """What happens when something is done: DreamerV2's model, with the action-free one below it where it is stacked.

        z_t ~ q_video(z | h'_t, e_t)                      action-free, pretrained
        s_t ~ q(s | h_t, [z_t, h'_t]),  h_t from a_{t−1}  action-conditional, on its features in place of the frame's embedding
        L = −log p(o_t | s_t) − log p(r_t + b_t | s_t) + KL_0.8(q(s) ‖ p(s)) + w KL_0.8(q_video ‖ p_video),   w = 0

    Without stacking the embedding itself takes the features' place: DreamerV2.

    References
    ----------
    Seo et al. 2022, section 4.2; w after the authors' code (``loss_scales.af_kl = 0``), where the paper has β_z.
    """

    def __init__(self, sizes: APVModelConfig, actions: int, config: DreamerConfig, stacked: bool) -> None:
        super().__init__()
        self.config, self.concatenated = config, config.concatenate
        self.encoder, self.decoder = PictureEncoder(sizes), PictureDecoder(sizes)
        self.video = RSSM(sizes, sizes.embedding) if stacked else None
        width = sizes.features + (sizes.embedding if config.concatenate else 0) if stacked else sizes.embedding
        self.top = RSSM(sizes, width, actions)
        self.reward = mlp(sizes.features, 1, config.layers, config.width)
        self.discount = mlp(sizes.features, 1, config.layers, config.width) if config.discount_head else None

    @property
    def bottom(self) -> list[nn.Parameter]:
        """What is pretrained and learns by an optimiser of its own; empty without stacking."""
        return [] if self.video is None else [*self.encoder.parameters(), *self.video.parameters()]

    @property
    def rest(self) -> list[nn.Parameter]:
        """All other weights."""
        below = {id(parameter) for parameter in self.bottom}
        return [parameter for parameter in self.parameters() if id(parameter) not in below]

    def load_pretrained(self, model: ActionFree) -> None:
        """Start from a pretrained model. Without stacking its recurrent model becomes this one's, to which actions are new."""
        self.encoder.load_state_dict(model.encoder.state_dict())
        self.decoder.load_state_dict(model.decoder.state_dict())
        if self.video is not None:
            self.video.load_state_dict(model.rssm.state_dict())
            return
        state, there = self.top.state_dict(), model.rssm.state_dict()
        known = there["into.weight"].shape[1]
        state["into.weight"][:, :known] = there["into.weight"]
        self.top.load_state_dict({**there, "into.weight": state["into.weight"]})

    def observe(
        self, windows: PlayedWindows, chances: Float[Tensor, "level window time latent"], frozen: bool = False
    ) -> tuple[Seen | None, Seen]:
        """Take windows in; ``frozen`` lets no gradient into encoder and action-free model."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not frozen):
            embedded = self.encoder(scaled(windows.frames))
            video = None if self.video is None else self.video.observe(embedded, windows.first, chances[0])
        return video, self.top.observe(self._given(embedded, video), windows.first, chances[1], windows.actions)

    def forward(
        self,
        windows: PlayedWindows,
        chances: Float[Tensor, "level window time latent"],
        bonus_of: Callable[[Float[Tensor, "window time feature"]], Float[Tensor, "window early"]] | None = None,
        frozen: bool = False,
    ) -> WorldLosses:
        """Losses of windows; with a bonus of the action-free features, rewards are learned where there is one: at the first steps of each window."""
        config, (video, top) = self.config, self.observe(windows, chances, frozen)
        bonus = None if bonus_of is None or video is None else bonus_of(video.features.detach())
        rewards = windows.rewards if bonus is None else windows.rewards[:, : bonus.shape[1]] + config.bonus * bonus
        parts = {
            "picture": picture_loss(self.decoder(top.features), scaled(windows.frames)),
            "reward": reward_loss(self.reward(top.features[:, : rewards.shape[1]])[..., 0], rewards),
            "divergence": balanced_divergence(top.posterior, top.prior, config.kl_balance, config.free_nats),
        }
        total = parts["picture"] + parts["reward"] + config.kl_weight * parts["divergence"]
        if self.discount is not None:
            parts["discount"] = discount_loss(self.discount(top.features)[..., 0], config.gamma * (~windows.terminated).float())
            total = total + parts["discount"]
        if video is not None and config.video_kl_weight:
            parts["video divergence"] = balanced_divergence(video.posterior, video.prior, config.kl_balance, config.free_nats)
            total = total + config.video_kl_weight * parts["video divergence"]
        return WorldLosses(parts, total, top, bonus)

    def step(
        self,
        frames: UInt8[Tensor, "game height width channel"],
        before: tuple[Float[Tensor, "game feature"], Float[Tensor, "game feature"]],
        actions: Float[Tensor, "game action"],
        chances: Float[Tensor, "level game latent"] | None,
    ) -> tuple[Float[Tensor, "game feature"], Float[Tensor, "game feature"]]:
        """Take one more frame of each game in: features below and on top, from those before. At a beginning those and the action are zeros."""
        embedded = self.encoder(scaled(frames))
        below, given = before[0], embedded
        if self.video is not None:
            below = self.video.see(before[0], embedded, None if chances is None else chances[0])
            given = torch.cat([below, embedded], -1) if self.concatenated else below
        return below, self.top.see(before[1], given, None if chances is None else chances[1], actions)

    def _given(self, embedded: Tensor, video: Seen | None) -> Tensor:
        if video is None:
            return embedded
        return torch.cat([video.features, embedded], -1) if self.concatenated else video.features
