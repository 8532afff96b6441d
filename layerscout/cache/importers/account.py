"""An importer and one of its episodes in, the sentence that an import ends with out: what came over, and what did not."""

from __future__ import annotations

from layerscout.cache.dataset.episodes import Episode
from layerscout.cache.importers.base import ROLES, Importer

MOST_NAMED = 8  # fields that a sentence names


def what_came_over(importer: Importer, sample: Episode) -> str:
    """Say which of actions, rewards, ends and state came over and from which fields, which did not and why, and how they could.

    Parameters
    ----------
    sample
        Any episode that the importer has given.
    """
    found = {role: _taken(importer, role, sample) for role in ROLES}
    parts = ["frames", *(f"{role} ({description})" for role, description in found.items() if description)]
    if sample.extra:
        parts.append(f"{len(sample.extra)} other field{'s' * (len(sample.extra) > 1)} ({_listed(sorted(sample.extra))})")
    left = [role for role in ROLES if not found[role] and _left_out(importer, role)]
    absent = [role for role in ROLES if not found[role] and role not in left]
    sentences = [", ".join(parts) + "."]
    sentences += [f"Left out: {', '.join(left)}."] if left else []
    sentences += [f"Not in the source: {', '.join(absent)}."] if absent else []
    if importer.not_taken:
        reasons = [f"'{name}' ({why})" for name, why in importer.not_taken.items()]
        sentences.append(f"Not taken: {_listed(reasons)}.")
    for role, flag in (("actions", "--action"), ("rewards", "--reward"), ("ends", "--end")):
        alike = [name for name in importer.candidates.get(role, ()) if importer.wants(name)] if role in absent else []
        if alike:
            words = [word for name in (alike if role == "actions" else alike[:1]) for word in (flag, name)]
            sentences.append(f"{role.capitalize()} may be in {_listed(alike)}: {importer.config.again(*words)}")
    return " ".join(sentences)


def _taken(importer: Importer, role: str, sample: Episode) -> str:
    """From which fields something came over as a role, or nothing."""
    values = {"actions": sample.actions, "rewards": sample.rewards, "state": sample.state}.get(role, sample.terminated)
    own = ", ".join(name for name in importer.roles.get(role, ()) if importer.wants(name))
    if values is None or not own or not importer.wants(role):
        return ""
    if role != "actions":
        return own
    return f"discrete: {own}" if values.ndim == 1 else f"{values.shape[1]} numbers: {own}"


def _left_out(importer: Importer, role: str) -> bool:
    own = importer.roles.get(role, ())
    return not importer.wants(role) or bool(own and not any(map(importer.wants, own)))


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:MOST_NAMED])
    return shown if len(names) <= MOST_NAMED else f"{shown} and {len(names) - MOST_NAMED} more"
