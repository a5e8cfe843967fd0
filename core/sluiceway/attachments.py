"""Files that we send, made ready for an account's provider: looked up, then uploaded to it or given a link to fetch.

Sends no message: a file that a provider has, and no message names, is nobody's.
"""

from __future__ import annotations

import asyncio
import datetime
from typing import NamedTuple

import msgspec

from sluiceway_contracts import FileRef, InvalidRef, Media, now
from sluiceway_contracts.parts import AnyPart

from .accounts import Served
from .cache import Cache
from .checks import Refusal
from .driver import Driver
from .errors import Ambiguous, Unreachable
from .filetypes import file_name
from .gateway import Attachment, Deliverer, Files, MediaUploader
from .links import Links
from .locks import Locks
from .media import MediaStore
from .patience import surely
from .render import Content
from .wire import File

LINK_FOR = datetime.timedelta(days=1)
MAX_REMEMBERED = 10_000
_BY_FAMILY = {"image": ("image",), "video": ("video",), "audio": ("audio",), "voice": ("audio",), "sticker": ("image",)}


class Ready(NamedTuple):
    """Parts as the gateway is given them, and the provider's ids of what was uploaded, by part id."""

    parts: Content
    ids: dict[str, str]


class Attachments:
    """Those of one account."""

    def __init__(self, served: Served, store: MediaStore, links: Links, driver: Driver) -> None:
        self._served = served
        self._store = store
        self._links = links
        self._driver = driver
        self._uploaded: Cache[str, tuple[str, float]] = Cache(MAX_REMEMBERED)
        self._locks = Locks()

    @property
    def files(self) -> Files:
        """Where their bytes are."""
        return self._store

    async def described(self, parts: Content) -> Content:
        """Parts whose files have the type and size that they are stored with. Raises `Refusal` where one is gone."""
        if not any(isinstance(part, Media) for part in parts):
            return parts
        return tuple(await asyncio.gather(*(self._described(part) for part in parts)))

    async def ready(self, content: Content) -> Ready:
        """One piece, ready to be sent. Raises a `SendError`, never `Ambiguous`: nothing was sent."""
        parts, ids = list[AnyPart](), dict[str, str]()
        for part in content:
            if isinstance(part, Media) and part.ref is not None:
                if isinstance(self._served.gateway, Deliverer):
                    pass  # it reads the file itself
                elif isinstance(self._served.gateway, MediaUploader):
                    ids[part.id] = await self._upload(self._served.gateway, part)
                else:
                    link = self._links.read(FileRef.parse(part.ref), now() + LINK_FOR, file_name(part.name, part.mime))
                    part = msgspec.structs.replace(part, url=link)  # noqa: PLW2901  # the same part
            parts.append(part)
        return Ready(tuple(parts), ids)

    def forget(self, content: Content) -> None:
        """Upload these files again: the provider refused a message that named what it had of them."""
        for part in content:
            if isinstance(part, Media) and part.ref is not None:
                self._uploaded.pop(part.ref)

    async def _described(self, part: AnyPart) -> AnyPart:
        if not isinstance(part, Media):
            return part
        if part.ref is None:
            return msgspec.structs.replace(part, state="remote") if part.url else part
        try:
            ref = FileRef.parse(part.ref)
        except InvalidRef as error:
            raise Refusal("invalid", str(error)) from error
        stored = await surely(self._store.find, ref) if ref.tenant == self._served.tenant else None
        if stored is None:
            raise Refusal("media_not_found", "there is no such file, or no longer; put it once more (ask media-upload)")
        fits = stored.mime.partition("/")[0] in _BY_FAMILY.get(part.kind, ("",))
        kind = part.kind if fits or part.kind not in _BY_FAMILY else "file"
        return msgspec.structs.replace(part, kind=kind, mime=stored.mime, size=stored.size, state="stored")

    async def _upload(self, gateway: MediaUploader, part: Media) -> str:
        """The provider's id, which one upload has for all messages of some time."""
        ref, clock = part.ref or "", asyncio.get_running_loop().time
        async with self._locks.of(ref):
            known = self._uploaded.get(ref)
            if known is not None and known[1] > clock():
                return known[0]
            name = file_name(part.name, part.mime)
            file = File(ref=ref, mime=part.mime, size=part.size or 0, name=name)
            try:
                flow = gateway.upload(Attachment(account=self._served.account, file=file))
                id = await self._driver.play(flow)
            except Ambiguous as error:
                raise Unreachable(f"the file could not be uploaded: {error}") from error
            self._uploaded.put(ref, (id, clock() + gateway.uploads_last_s))
            return id
