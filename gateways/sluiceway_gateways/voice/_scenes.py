"""The steps by their place below the hook, and what is said where core can't be asked: nobody is cut off for that."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

from sluiceway import CallStep, Consulting, Intake, Malformed, Unavailable

from . import _agents, _callbacks, _incoming, _menu, _outgoing
from ._step import Step, told

TRIES, PAUSE_S = 3, 2
"""How often a step waits for core, and how long each time, before it does without."""


class Scene(NamedTuple):
    """A step: what it does, who hears its document, and what is certain even where core can't be asked."""

    play: Callable[[Step], Intake | Consulting[Intake]]
    hears: Literal["caller", "called", "nobody"] = "called"
    certain: Callable[[Step], CallStep] | None = None


SCENES: Mapping[str, Scene] = {
    "": Scene(_incoming.called, "caller", _incoming.arrived),
    "inbound-whisper": Scene(_agents.whisper),
    "inbound-accept": Scene(_agents.take),
    "menu": Scene(_menu.menu, "caller"),
    "choice": Scene(_menu.choice, "caller"),
    "left": Scene(_menu.left, "caller"),
    "voicemail": Scene(_menu.voicemail, "nobody"),
    "ended": Scene(_incoming.ended, "nobody"),
    "agent": Scene(_outgoing.agent, certain=_agents.answered),
    "accept": Scene(_outgoing.accept),
    "whisper": Scene(_outgoing.whisper),
    "customer": Scene(_outgoing.customer, certain=_outgoing.answered),
    "agent-whisper": Scene(_outgoing.agent_whisper, certain=_agents.answered),
    "agent-accept": Scene(_agents.take),
    "dialled": Scene(_outgoing.dialled),
    "status": Scene(_callbacks.status, "nobody"),
    "recording": Scene(_callbacks.recording, "nobody"),
}


def scene(step: Step) -> Intake | Consulting[Intake]:
    """What a step comes to. Raises `Malformed`."""
    if step.name not in SCENES:
        raise Malformed(f"there is no step {step.name[:40]}")
    found = SCENES[step.name]
    played = found.play(step)
    return played if isinstance(played, Intake) else _patient(step, found, played)


def _patient(step: Step, scene: Scene, played: Consulting[Intake]) -> Consulting[Intake]:
    try:
        return (yield from played)
    except Unavailable:
        if scene.hears == "nobody":
            raise
        return _excuse(step, scene)


def _excuse(step: Step, scene: Scene) -> Intake:
    """The same step again in a moment; in the end, what works without core."""
    certain = () if scene.certain is None else (scene.certain(step),)
    if step.flags.get("try", 0) < TRIES:
        return told(step.page("one_moment").pause(PAUSE_S).redirect(step.again()), *certain)
    if scene.hears == "caller" and step.number.voicemail:
        return told(_menu.leave(step, "broken_message"), *certain)
    return told(step.page("broken").hang_up(), *certain)
