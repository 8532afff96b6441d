"""An importer and one of its episodes in, what came over and what did not out: as data, and as the sentence that an import ends with."""

from __future__ import annotations

from typing import Any

from layerscout.cache.dataset.episodes import Episode
from layerscout.cache.importers.base import ROLES, Importer

MOST_NAMED = 8  # fields that a sentence names


def what_came_over(importer: Importer, sample: Episode) -> dict[str, Any]:
    """Return role → the source's own names of what came over as such, or None; then the other fields that did and did not.

    Parameters
    ----------
    sample
        Any episode that the importer has given.
    """
    taken: dict[str, Any] = {role: _names(importer, role) for role in ROLES}
    taken["actions"] = taken["actions"] if sample.actions is not None else None
    taken["rewards"] = taken["rewards"] if sample.rewards is not None else None
    taken["state"] = taken["state"] if sample.state is not None else None
    return taken | {"other": sorted(sample.extra), "not_taken": dict(importer.not_taken)}


def sentence(importer: Importer, sample: Episode) -> str:
    """Return which of actions, rewards, ends and state came over and which did not, why, and how those could."""
    found = what_came_over(importer, sample)
    came = [f"{role} ({_how(role, sample)}{', '.join(found[role])})" for role in ROLES if found[role]]
    lack = [role for role in ROLES if not found[role]]
    parts = [f"came over: frames{''.join(f', {one}' for one in came)}"]
    parts += [f"{len(sample.extra)} other fields ({_listed(found['other'])})"] if sample.extra else []
    told = "; ".join(parts) + "."
    left = [role for role in lack if not _allowed(importer, role)]
    absent = [role for role in lack if role not in left]
    told += f" Left out: {', '.join(left)}." if left else ""
    told += f" Not in the source: {', '.join(absent)}." if absent else ""
    if "actions" in lack and importer.candidates and _allowed(importer, "actions"):
        words = [word for name in importer.candidates for word in ("--action", name)]
        told += f" Actions may be in {_listed(list(importer.candidates))}: {importer.config.again(*words)}"
    if importer.not_taken:
        reasons = [f"'{name}' ({why})" for name, why in list(importer.not_taken.items())[:MOST_NAMED]]
        more = len(importer.not_taken) - len(reasons)
        told += f" Not taken: {', '.join(reasons)}{f' and {more} more' if more else ''}."
    return told


def _names(importer: Importer, role: str) -> list[str] | None:
    own = [name for name in importer.roles.get(role, ()) if importer.wants(name)]
    return own if own and _allowed(importer, role) else None


def _allowed(importer: Importer, role: str) -> bool:
    left = importer.config.leave_out
    own = importer.roles.get(role, ())
    return role not in left and not (own and all(name in left for name in own))


def _how(role: str, sample: Episode) -> str:
    if role != "actions" or sample.actions is None:
        return ""
    return "discrete: " if sample.actions.ndim == 1 else f"{sample.actions.shape[1]} numbers: "


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:MOST_NAMED])
    return shown if len(names) <= MOST_NAMED else f"{shown} and {len(names) - MOST_NAMED} more"
