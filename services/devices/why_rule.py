"""The rule that keeps a device from the released version, or how it gets it, in sentences. Pure.

What is decided is decided in ``shared.targets``; here are only its words.
"""

from __future__ import annotations

from typing import Any

from shared.rollouts import Part, PartWord
from shared.targets import MOST_FAILURES, Explanation

_RULES = {
    "not_imported": "It is a member of no product, so nothing is sent to it (DEV-1).",
    "quarantined": "It is in quarantine and gets no firmware until somebody approves it (DEV-4).",
    "denied": "It was denied and gets no firmware (DEV-4).",
    "development": "It is a development device: no release reaches it (DEV-5).",
    "nothing_released": "No version of its product is released (FW-4).",
}


_RULE_OF = {"lock": "FW-3", "release": "FW-4", "rollout": "FW-6"}
_PARTS: dict[PartWord, str] = {
    "runs": "It runs the version of {rollout} already (FW-6).",
    "turn": "It had its turn in {rollout}, which is at stage {stage} (FW-6).",
    "paused": "It has a part in {rollout}, which is paused{gate}: nobody is brought to it meanwhile (FW-6).",
    "waits": "It is in stage {stage} of {rollout}, and waits for its turn (FW-6).",
    "later": "It is in a later stage of {rollout}, which is at stage {stage} (FW-6).",
    "keeps": "{rollout} is over; whoever runs its version keeps it until something else is released (FW-6).",
    "goes_back": "{rollout} was rolled back, so it goes back to what is released (FW-6).",
}


def rule_object(explanation: Explanation, reported_product: int | None, part: Part | None = None) -> dict[str, Any]:
    """The explanation as the HTTP API shows it."""
    wanted = explanation.target
    return {
        "rule": explanation.rule,
        "released_version": explanation.released_version,
        "target_version": None if wanted is None else wanted.version,
        "target_cause": None if wanted is None else wanted.cause,
        "delivery": explanation.delivery,
        "runs_released": explanation.runs_released,
        "gets_released": explanation.gets_released,
        "rollout": None if part is None else _rollout_object(part),
        "text": rule_text(explanation, reported_product, part),
    }


def _rollout_object(part: Part) -> dict[str, Any]:
    rollout = part.rollout
    return {
        "id": rollout.rollout_id,
        "version": rollout.version,
        "state": rollout.state,
        "stage": rollout.stage + 1,
        "gate": rollout.gate,
        "part": part.word,
    }


def rule_text(explanation: Explanation, reported_product: int | None, part: Part | None = None) -> str:
    """The rule, the device's part in a roll-out, and how far it is on the way to its target."""
    sentences = [_rule(explanation, reported_product)]
    if part is not None and explanation.rule in ("released", "nothing_released"):
        sentences.append(_part(part))
    if explanation.delivery is not None:
        sentences.append(_delivery(explanation))
    is_elsewhere = explanation.target is None or explanation.target.version != explanation.released_version
    if explanation.runs_released and is_elsewhere:
        sentences.append(f"What it runs now is the released version {explanation.released_version} all the same.")
    return " ".join(sentences)


def _part(part: Part) -> str:
    rollout = part.rollout
    name = f"roll-out {rollout.rollout_id} of version {rollout.version}"
    gate = "" if rollout.gate is None else f" by gate {rollout.gate}"
    text = _PARTS[part.word].format(rollout=name, stage=rollout.stage + 1, gate=gate)
    return text[0].upper() + text[1:]


def _rule(explanation: Explanation, reported_product: int | None) -> str:
    wanted = explanation.target
    match explanation.rule:
        case "other_product":
            return f"It reports product {reported_product} and was not forced, so it gets none of ours (DEV-3)."
        case "locked" if wanted is not None and wanted.version == explanation.released_version:
            return f"It is locked to version {wanted.version}, which is also the released one (FW-3)."
        case "locked" if wanted is not None:
            return f"It is locked to version {wanted.version} and gets no other, whatever is released (FW-3)."
        case "released" if wanted is not None and wanted.cause == "rollout":
            return f"Version {wanted.version} is rolled out, and no other rule keeps the device from it (FW-6)."
        case "released" if wanted is not None:
            return f"Version {wanted.version} is released, and no other rule keeps the device from it (FW-4)."
        case rule:
            return _RULES[rule]


def _delivery(explanation: Explanation) -> str:
    wanted = explanation.target
    assert wanted is not None  # a delivery is of a target
    name, rule = f"version {wanted.version}", _RULE_OF[wanted.cause]
    match explanation.delivery:
        case "runs":
            return f"It runs {name}."
        case "failing":
            again = "somebody asks for it again or the target changes"
            return f"It failed at {name} {MOST_FAILURES} times in a row and is left alone until {again} (FW-7)."
        case "updating":
            return f"It is taking {name} now (FW-7)."
        case "not_now":
            return f"It says that it takes no updates now, and gets {name} when it says otherwise ({rule})."
        case "offline":
            return f"It is offline and gets {name} at its next connection ({rule})."
        case "offered":
            return f"It is online and is offered {name} in this connection ({rule})."
        case _:
            return f"It is online since before and gets {name} at its next connection ({rule})."
