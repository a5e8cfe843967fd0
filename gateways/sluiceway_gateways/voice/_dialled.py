"""What became of the leg that was dialled from another, as Twilio tells the first.

https://www.twilio.com/docs/voice/twiml/dial#action
"""

from __future__ import annotations

from sluiceway import CallStep

from ._step import Step, seconds

MISSED = {"busy": "busy", "no-answer": "no_answer", "failed": "failed", "canceled": "canceled"}
ANSWERED = frozenset({"completed", "answered"})


def is_bridged(step: Step) -> bool:
    """Whether both spoke. Twilio says completed, too, where the second answered and hung up before that."""
    return step.form.get("DialCallStatus") in ANSWERED and step.form.get("DialBridged") != "false"


def second(step: Step, leg: str) -> CallStep:
    """Its last step."""
    status, sid = step.form.get("DialCallStatus", ""), step.form.get("DialCallSid")
    word = "completed" if is_bridged(step) else "declined" if status in ANSWERED else MISSED.get(status, "failed")
    return step.fact(
        word,
        leg,
        key=f"{sid or step.sid + ' 2'}:{word}",
        external_id=sid,
        address=None,
        duration_ms=seconds(step.form, "DialCallDuration") if word == "completed" else None,
    )
