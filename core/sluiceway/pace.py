"""Pace: how fast an account may send, in all and to one recipient. Waits, never refuses.

Token buckets: `per_second` tokens come in, at most `burst` are kept. A provider that says stop holds the whole account
for as long as it says, whatever the buckets hold.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict

from .gateway import Rate

MAX_RECIPIENTS = 10_000


class TokenBucket:
    """Tokens by elapsed time: `take` one and wait for it, or `spend` one that is there."""

    def __init__(self, rate: Rate) -> None:
        self._rate = rate
        self._tokens = float(rate.burst)
        self._at = 0.0

    def take(self, now: float) -> float:
        """How long to wait for the token taken, in seconds."""
        self._fill(now)
        self._tokens -= 1
        return max(0.0, -self._tokens / self._rate.per_second)

    def spend(self, now: float) -> float:
        """0 where a token was there, which is taken; else in how many seconds one will be, and none is taken."""
        self._fill(now)
        if self._tokens < 1:
            return (1 - self._tokens) / self._rate.per_second
        self._tokens -= 1
        return 0.0

    def _fill(self, now: float) -> None:
        if self._at:
            self._tokens = min(self._rate.burst, self._tokens + (now - self._at) * self._rate.per_second)
        self._at = now


class Pace:
    """One account's pace."""

    def __init__(self, account: Rate | None, recipient: Rate | None) -> None:
        self._account = TokenBucket(account) if account else None
        self._recipient_rate = recipient
        self._recipients: OrderedDict[str, TokenBucket] = OrderedDict()
        self._turn = asyncio.Lock()
        self._held_until = 0.0

    def hold(self, seconds: float) -> None:
        """The provider wants nothing from this account for so long."""
        self._held_until = max(self._held_until, _now() + seconds)

    @property
    def held(self) -> bool:
        """Whether the provider wants nothing from this account now."""
        return self._held_until > _now()

    async def wait(self, recipient: str) -> None:
        """Return when the account may send to this recipient."""
        if self._recipient_rate is not None:
            await _sleep(self._bucket(recipient, self._recipient_rate).take(_now()))
        if self._account is not None:
            async with self._turn:  # a token is taken at the head of the queue: who leaves the queue has taken none
                await _sleep(self._account.take(_now()))
        while (left_s := self._held_until - _now()) > 0:
            await _sleep(left_s)

    def _bucket(self, recipient: str, rate: Rate) -> TokenBucket:
        bucket = self._recipients.pop(recipient, None) or TokenBucket(rate)
        self._recipients[recipient] = bucket
        if len(self._recipients) > MAX_RECIPIENTS:
            self._recipients.popitem(last=False)
        return bucket


def _now() -> float:
    return asyncio.get_running_loop().time()


async def _sleep(seconds: float) -> None:
    if seconds > 0:
        await asyncio.sleep(seconds)
