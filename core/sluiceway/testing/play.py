"""Plays what core would play, with answers from a script: nothing is sent, nothing is stored, nobody waits."""

from __future__ import annotations

from typing import Any, TypeVar

from sluiceway.gateway import Ask, Consulting, Flow, Intake, Webhook
from sluiceway.wire import Request, Response

T = TypeVar("T")


def play(flow: Flow[T], *answers: Response | Exception) -> tuple[T, list[Request]]:
    """Drive a flow: each request that it yields gets the next answer; an exception is thrown into it, as core throws.

    Returns the flow's result and its requests. Raises what the flow raises, and `AssertionError` where it makes more
    requests, or fewer, than there are answers.
    """
    result, wanted = consult(flow, *answers)
    return result, [request for request in wanted if isinstance(request, Request)]


def consult(flow: Consulting[T], *answers: Any) -> tuple[T, list[Request | Ask]]:
    """As `play`, for a flow that may ask core as well: what it asks gets the next answer, too."""
    wanted: list[Request | Ask] = []
    script = iter(answers)
    try:
        item = next(flow)
        while True:
            wanted.append(item)
            try:
                answer = next(script)
            except StopIteration:
                raise AssertionError(f"no answer is scripted for {item!r}") from None
            item = flow.throw(answer) if isinstance(answer, Exception) else flow.send(answer)
    except StopIteration as stop:
        unused = list(script)
        if unused:
            raise AssertionError(f"the flow ended with {len(unused)} answers left") from None
        result: T = stop.value
        return result, wanted


def deliver(gateway: Webhook, request: Request, *answers: Any) -> Intake:
    """A delivery as core takes it in: verified, then received. Raises `Unverified` or `Malformed`."""
    gateway.verify(request)
    match gateway.receive(request):
        case Intake() as intake:
            return intake
        case flow:
            return consult(flow, *answers)[0]
