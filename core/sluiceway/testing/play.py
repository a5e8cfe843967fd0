"""Plays what core would play, with answers from a script: nothing is sent, nothing is stored, nobody waits."""

from __future__ import annotations

from typing import TypeVar

from sluiceway.gateway import Flow, Intake, Webhook
from sluiceway.wire import Request, Response

T = TypeVar("T")


def play(flow: Flow[T], *answers: Response | Exception) -> tuple[T, list[Request]]:
    """Drive a flow: each request that it yields gets the next answer; an exception is thrown into it, as core throws.

    Returns the flow's result and its requests. Raises what the flow raises, and `AssertionError` where it makes more
    requests, or fewer, than there are answers.
    """
    requests: list[Request] = []
    script = iter(answers)
    try:
        request = next(flow)
        while True:
            requests.append(request)
            match next(script, None):
                case None:
                    raise AssertionError(f"no answer is scripted for {request!r}")
                case Response() as response:
                    request = flow.send(response)
                case error:
                    request = flow.throw(error)
    except StopIteration as stop:
        unused = list(script)
        if unused:
            raise AssertionError(f"the flow ended with {len(unused)} answers left") from None
        result: T = stop.value
        return result, requests


def deliver(gateway: Webhook, request: Request, *answers: Response | Exception) -> Intake:
    """A delivery as core takes it in: verified, then received. Raises `Unverified` or `Malformed`."""
    gateway.verify(request)
    match gateway.receive(request):
        case Intake() as intake:
            return intake
        case flow:
            return play(flow, *answers)[0]
