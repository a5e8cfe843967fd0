"""What Twilio tells of a leg or a recording, and wants no instructions for."""

from __future__ import annotations

from sluiceway import Intake, Unreadable
from sluiceway_contracts import Error

from ._step import Step, seconds
from ._voice_errors import ERRORS

# https://www.twilio.com/docs/voice/api/call-resource#statuscallbackevent; "answered" comes from the step that follows
STATUS = {
    "queued": "",
    "initiated": "placed",
    "ringing": "ringing",
    "in-progress": "",
    "completed": "completed",
    "busy": "busy",
    "no-answer": "no_answer",
    "failed": "failed",
    "canceled": "canceled",
}


def status(step: Step) -> Intake:
    """A leg went on, or came to its end."""
    word = step.form.required("CallStatus")
    if word not in STATUS:
        why = f"Twilio's status {word[:40]} is not known"
        unreadable = Unreadable(at=step.ours, key=f"{step.sid}:{word}", raw=step.raw, why=why)
        return Intake(facts=(unreadable,), reply=step.nothing)
    if not STATUS[word]:
        return Intake(reply=step.nothing)
    duration = seconds(step.form, "CallDuration") if word == "completed" else None
    fact = step.fact(STATUS[word], duration_ms=duration, error=_error(step) if word == "failed" else None)
    return Intake(facts=(fact,), reply=step.nothing)


def recording(step: Step) -> Intake:
    """The recording of a call is there."""
    if step.form.get("RecordingStatus", "completed") != "completed":
        return Intake(reply=step.nothing)
    sid, address = step.form.required("RecordingSid"), step.form.required("RecordingUrl")
    fact = step.fact(
        "recording",
        key=f"{sid}:recording",
        address=None,
        recording=f"{address}.mp3",
        duration_ms=seconds(step.form, "RecordingDuration"),
    )
    return Intake(facts=(fact,), reply=step.nothing)


def _error(step: Step) -> Error | None:
    """Why a leg failed: Twilio's code, else the network's. https://www.twilio.com/docs/voice/api/call-resource"""
    code, sip = step.form.get("ErrorCode"), step.form.get("SipResponseCode")
    if code:
        known = ERRORS.get(code)
        text = known.text if known is not None else step.form.get("ErrorMessage", "")[:200]
        return Error(code="failed", message=text or "Twilio gave no reason", provider_code=code)
    if sip:
        return Error(code="failed", message=f"the network answered SIP {sip[:3]}", provider_code=f"sip:{sip[:3]}")
    return None
