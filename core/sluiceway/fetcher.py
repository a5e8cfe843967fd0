"""Fetching an account's files: located by its gateway, read through the guard, stored, told as `message.media`.

Whatever becomes of a file, the message that it belongs to is on the stream already. What can't be had now is tried
again for most of an hour, and where credentials are refused for three days; then it is told as failed.
"""

from __future__ import annotations

import datetime

import msgspec
import structlog

from sluiceway_contracts import CallRecording, Error, Event, FileRef, MessageMedia, StoredFile
from sluiceway_contracts.values import now

from . import metrics
from .accounts import Served
from .bus.work import Queue, Work
from .directory import Directory
from .driver import Driver
from .errors import (
    CredentialsRefused,
    MediaError,
    Rejected,
    SendError,
    SluicewayError,
    Throttled,
    Unavailable,
    Unreachable,
)
from .fetches import Fetch
from .filetypes import UNKNOWN
from .gateway import MediaFetcher, Wanted
from .http.download import Downloads
from .http.guard import Forbidden
from .identity import Identity
from .media import MediaStore
from .patience import surely
from .stream import EventStream

log = structlog.get_logger(__name__)

RETRIES_S = (1, 5, 30, 120, 600, 1800)
TRIED_FOR = datetime.timedelta(seconds=sum(RETRIES_S))
"""Given up is what has been tried so often and for so long: waiting for NATS, or for our next start, is no failure."""
EARLY_TRIES, EARLY_FOR = 3, datetime.timedelta(seconds=30)
"""So long a file that is not there is asked for again: some providers announce a file before they have it."""
GONE = frozenset({"404", "410"})
LOCKED = frozenset({"401", "403"})
LOCKED_FOR = datetime.timedelta(days=3)


class Later(Exception):
    """Not now: the same may work after so many seconds. `error` is what it is, should no try be left."""

    def __init__(self, after_s: float, error: MediaError) -> None:
        super().__init__(str(error))
        self.after_s = after_s
        self.error = error


class Erased(SluicewayError):
    """Whoever sent the file was erased meanwhile: nothing of it is kept, or told."""


class Fetcher:
    """The files of one account."""

    def __init__(
        self,
        served: Served,
        queue: Queue,
        *,
        driver: Driver,
        downloads: Downloads,
        store: MediaStore,
        stream: EventStream,
        identity: Identity,
        directory: Directory,
    ) -> None:
        self._served = served
        self._queue = queue
        self._driver = driver
        self._downloads = downloads
        self._store = store
        self._stream = stream
        self._identity = identity
        self._directory = directory
        self._log = log.bind(account=served.name)

    async def run(self) -> None:
        """Fetch until cancelled."""
        await self._queue.run(self._carry_out)

    async def _carry_out(self, work: Work) -> None:
        try:
            fetch = msgspec.json.decode(work.data, type=Fetch)
        except ValueError:
            self._log.error("media.unreadable", sequence=work.sequence)
            await work.done()
            return
        try:
            file = await self._fetch(fetch, work.tries)
        except Later as later:
            self._log.info("media.later", message=fetch.message_id, why=later.error.code, wait_s=later.after_s)
            metrics.count(metrics.media, self._served.name, "later").inc()
            await work.again(later.after_s)
        except Unavailable as error:
            self._log.warning("media.waits", message=fetch.message_id, why=str(error))
            await work.again(RETRIES_S[1])
        except Erased:
            self._log.info("media.erased", message=fetch.message_id)
            await work.done()
        except MediaError as error:
            await self._told(work, fetch, None, error)
        else:
            await self._told(work, fetch, file, None)

    async def _fetch(self, fetch: Fetch, tries: int) -> StoredFile:
        """The file, stored. Raises `Later`, `MediaError`, `Erased` or `Unavailable`."""
        gateway, served = self._served.gateway, self._served
        assert isinstance(gateway, MediaFetcher)  # noqa: S101  # only their accounts have work
        wanted = Wanted(account=served.account, reference=fetch.reference, kind=fetch.kind, mime=fetch.mime)
        has_login = True
        try:
            request = await self._driver.play(gateway.locate(wanted))
            has_login = "authorization" in request.headers
            async with self._downloads.open(request, gateway.media_hosts()) as download:
                if download.size is not None and download.size > self._store.max_bytes:
                    raise MediaError("media_too_large", f"the file has {download.size} bytes")
                said = fetch.mime if fetch.mime != UNKNOWN else download.mime
                return await self._store.keep(served.tenant, download.chunks, said, lambda: self._check(fetch))
        except Forbidden as error:
            raise MediaError("media_forbidden", str(error)) from error
        except MediaError as error:
            if error.code == "store_full" and now() - fetch.wanted_at < LOCKED_FOR:  # it may be emptied
                raise Later(_wait_s(tries), error) from error
            raise
        except SendError as error:
            await self._check(fetch)
            raise _judged(error, fetch, tries, has_login) from error
        except (Erased, Unavailable):
            raise
        except Exception as error:
            self._log.exception("gateway.error", message=fetch.message_id)
            raise _judged(Unreachable(f"{type(error).__name__} in the gateway"), fetch, tries, has_login) from error

    async def _check(self, fetch: Fetch) -> None:
        """Raises `Erased`."""
        if await surely(self._directory.reread, self._served.tenant, fetch.contact) is None:
            raise Erased

    async def _told(self, work: Work, fetch: Fetch, file: StoredFile | None, error: MediaError | None) -> None:
        """Done when it is told, and true: a file that went meanwhile with somebody who was erased is fetched anew."""
        try:
            await self._tell(fetch, file, error)
        except Erased:
            self._log.info("media.erased", message=fetch.message_id)
            if file is not None:
                await surely(self._store.drop, FileRef.parse(file.ref), fetch.wanted_at)
        if file is not None and await surely(self._store.find, FileRef.parse(file.ref)) is None:
            await work.again(RETRIES_S[0])
        else:
            await work.done()

    async def _tell(self, fetch: Fetch, file: StoredFile | None, error: MediaError | None) -> None:
        state = "stored" if error is None else "failed"
        data = _told(fetch, file, error)
        served, once = self._served, self._identity.external_key(self._served.name, fetch.reference)
        event = Event(
            id=self._identity.id(served.tenant, data.type, fetch.message_id, fetch.part_id, once, state),
            tenant=served.tenant,
            channel=served.channel,
            account=served.name,
            contactid=fetch.contact,
            subject=fetch.conversation,
            data=data,
        )
        await surely(self._publish, fetch, event)
        metrics.count(metrics.media, served.name, error.code if error else state).inc()
        metrics.count(metrics.media_bytes, served.name).inc(file.size if file else 0)
        self._log.info("media.done", message=fetch.message_id, state=state, why=error.code if error else None)

    async def _publish(self, fetch: Fetch, event: Event) -> None:
        await self._check(fetch)
        await self._stream.publish(event)


def _told(fetch: Fetch, file: StoredFile | None, error: MediaError | None) -> MessageMedia | CallRecording:
    state = "stored" if error is None else "failed"
    if fetch.call_ms is not None:
        ref = file.ref if file else None
        return CallRecording(call_id=fetch.message_id, state=state, ref=ref, duration_ms=fetch.call_ms)
    return MessageMedia(
        message_id=fetch.message_id,
        part_id=fetch.part_id,
        state=state,
        ref=file.ref if file else None,
        mime=file.mime if file else None,
        size=file.size if file else None,
        error=Error(code=error.code, message=str(error), provider_code=error.provider_code) if error else None,
    )


def _wait_s(tries: int) -> float:
    return RETRIES_S[min(tries, len(RETRIES_S)) - 1]


def _judged(error: SendError, fetch: Fetch, tries: int, has_login: bool) -> Later | MediaError:
    """What a failure means for the file, after so many tries; without a login none can be refused."""
    age = now() - fetch.wanted_at
    code = error.provider_code if isinstance(error, Rejected) else None
    if isinstance(error, CredentialsRefused) or (code in LOCKED and has_login):
        refused = MediaError("credentials_refused", str(error), code)
        return Later(_wait_s(tries), refused) if age < LOCKED_FOR or tries <= EARLY_TRIES else refused
    if isinstance(error, Rejected):
        gone = MediaError("media_gone", str(error), code)
        early = code in GONE and (age < EARLY_FOR or tries <= EARLY_TRIES)
        return Later(_wait_s(tries), gone) if early else gone
    lost = MediaError("media_unreachable", str(error))
    if age >= TRIED_FOR and tries > len(RETRIES_S):
        return lost
    wait_s = error.retry_after_s if isinstance(error, Throttled) else None
    return Later(_wait_s(tries) if wait_s is None else max(wait_s, RETRIES_S[0]), lost)
