"""The error tree. Errors carry data; their text is one sentence for people and never a secret.

SluicewayError
├── ConfigError           the configuration is wrong: where, and what to do
├── Unavailable           what we depend on can't take it now: the provider is told 503 and tries again
├── MediaError            a file can't be had or kept: its code says why, trying again would not help
├── TooLarge              NATS will never take it: trying again would not help
├── Unverified            nobody proved that the provider sent this delivery: 403, nothing is kept
├── Malformed             a delivery that can't be read: 4xx while unproven, else parked with its raw bytes
└── SendError             a message was not sent, or nobody knows
    ├── Unreachable       nothing was written to the provider: it may be tried again
    ├── Throttled         the provider took nothing and wants a pause: it may be tried again
    ├── Ambiguous         written, not answered: it may or may not have been sent
    └── Rejected          the provider refused, with its code: trying again would not help
        ├── OptedOut              the recipient does not want it
        ├── WindowClosed          the provider's time for free answers is over
        └── CredentialsRefused    the account can't send at all
"""

from __future__ import annotations


class SluicewayError(Exception):
    """Everything that Sluiceway raises on purpose."""


class ConfigError(SluicewayError):
    """The configuration can't be used. `where` is a file or variable, `key` a dotted path in it."""

    def __init__(self, where: str, key: str, what: str) -> None:
        super().__init__(f"{where}: {key}: {what}" if key else f"{where}: {what}")
        self.where = where
        self.key = key


class Unavailable(SluicewayError):
    """NATS, or something else that must not fail silently, can't take it now."""


class MediaError(SluicewayError):
    """A file that can't be had or kept. `code` is a word of the contract's `MessageMedia`."""

    def __init__(self, code: str, message: str, provider_code: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.provider_code = provider_code


class TooLarge(SluicewayError):
    """A message that is larger than this NATS takes (its `max_payload`, headers included)."""


class Unverified(SluicewayError):
    """A delivery without proof that the provider sent it."""


class Malformed(SluicewayError):
    """A delivery that can't be read. `status` is the HTTP status for an unproven one."""

    def __init__(self, why: str, status: int = 400) -> None:
        super().__init__(why)
        self.status = status


class SendError(SluicewayError):
    """A message was not sent, or nobody knows whether it was. `code` is the word that the contract uses for it."""

    code = "failed"


class Unreachable(SendError):
    """Nothing was written, or nothing was taken. `retry_after_s` is how long to wait, where that is known."""

    code = "unreachable"

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Throttled(SendError):
    """The provider processed nothing. `retry_after_s` is how long it wants us to wait, if it said so."""

    code = "throttled"

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Ambiguous(SendError):
    """The request was written and no usable answer came."""

    code = "unknown"


class Rejected(SendError):
    """The provider refused. `provider_code` is its own code, as text."""

    code = "rejected"

    def __init__(self, message: str, provider_code: str | None = None) -> None:
        super().__init__(message)
        self.provider_code = provider_code


class OptedOut(Rejected):
    """The recipient has said stop."""

    code = "opted_out"


class WindowClosed(Rejected):
    """The provider allows no free text now; a template may still pass."""

    code = "window_closed"


class CredentialsRefused(Rejected):
    """The provider does not accept our credentials, or has suspended them."""

    code = "credentials_refused"
