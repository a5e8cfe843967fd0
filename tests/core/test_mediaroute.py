"""Files by HTTP: what a signed address gives, to whom, in what part; and that nothing that is sent by it is run."""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit

import aiohttp
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluiceway.errors import Unverified
from sluiceway.links import Links
from sluiceway.mediaroute import _span
from sluiceway.testing.nats import NatsServer
from sluiceway.wire import Request
from sluiceway_contracts import (
    Answer,
    FileRef,
    MediaUpload,
    MediaUploadAnswer,
    MediaUrl,
    MediaUrlAnswer,
    StoredFile,
    now,
    subjects,
)

from .conftest import TWILIO, Rig, running

PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(range(256)) * 1000
HOUR = datetime.timedelta(hours=1)
CONFIG = TWILIO.replace("[probes]", "[media]\nmax_bytes = 400000\n[probes]")


@pytest.fixture
async def rig(tmp_path: Path, shared_nats: NatsServer) -> AsyncIterator[Rig]:
    async with running(tmp_path, shared_nats, CONFIG) as rig:
        yield rig


@pytest.fixture
async def web() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def bytes_of(data: bytes) -> AsyncIterator[bytes]:
    yield data


async def stored(rig: Rig, data: bytes = PNG, mime: str = "image/png") -> FileRef:
    file = await rig.service._files.keep("acme", bytes_of(data), mime)
    return FileRef.parse(file.ref)


async def asked(rig: Rig, question: MediaUrl | MediaUpload, tenant: str = "acme") -> bytes:
    subject = subjects.ask(tenant, question.name, prefix=rig.core.nats.prefix)
    return (await rig.link.request(subject, msgspec.json.encode(question), timeout_s=5)).data


async def address(rig: Rig, ref: FileRef, file_name: str | None = None) -> str:
    question = MediaUrl(ref=str(ref), file_name=file_name)
    answer = msgspec.json.decode(await asked(rig, question), type=MediaUrlAnswer)
    assert answer.url is not None
    return answer.url


async def upload(rig: Rig) -> str:
    answer = msgspec.json.decode(await asked(rig, MediaUpload()), type=MediaUploadAnswer)
    assert answer.url is not None
    return answer.url


def changed(url: str, **fields: str) -> str:
    parts = urlsplit(url)
    return parts._replace(query=urlencode(dict(parse_qsl(parts.query)) | fields)).geturl()


async def test_a_file_is_read_under_the_address_that_was_asked_for(rig: Rig, web: aiohttp.ClientSession) -> None:
    answer = msgspec.json.decode(
        await asked(rig, MediaUrl(ref=str(await stored(rig)), file_name="Mein Foto.png")), type=MediaUrlAnswer
    )
    assert (answer.mime, answer.size) == ("image/png", len(PNG))
    assert answer.url is not None
    assert answer.expires_at is not None
    async with web.get(answer.url) as response:
        assert (response.status, await response.read()) == (200, PNG)
        assert response.headers["content-type"] == "image/png"
        assert response.headers["content-disposition"] == "inline; filename*=UTF-8''Mein%20Foto.png"
        assert response.headers["x-content-type-options"] == "nosniff"
        assert "sandbox" in response.headers["content-security-policy"]
        etag = response.headers["etag"]
    async with web.get(answer.url, headers={"if-none-match": etag}) as response:
        assert response.status == 304
    async with web.head(answer.url) as response:
        assert (response.status, response.headers["content-length"]) == (200, str(len(PNG)))


@pytest.mark.parametrize(
    ("wanted", "status", "start", "stop"),
    [
        ("bytes=0-9", 206, 0, 10),
        ("bytes=131070-131080", 206, 131_070, 131_081),
        ("bytes=200000-", 206, 200_000, len(PNG)),
        ("bytes=-5", 206, len(PNG) - 5, len(PNG)),
        ("bytes=5-99999999", 206, 5, len(PNG)),
        ("bytes=0-1,5-6", 200, 0, len(PNG)),
        ("lines=1-2", 200, 0, len(PNG)),
        ("bytes=9-5", 200, 0, len(PNG)),
    ],
)
async def test_a_part_of_a_file_is_read(
    rig: Rig, web: aiohttp.ClientSession, wanted: str, status: int, start: int, stop: int
) -> None:
    url = await address(rig, await stored(rig))
    async with web.get(url, headers={"range": wanted}) as response:
        assert (response.status, await response.read()) == (status, PNG[start:stop])
        if status == 206:
            assert response.headers["content-range"] == f"bytes {start}-{stop - 1}/{len(PNG)}"
    async with web.get(url, headers={"range": "bytes=99999999-"}) as response:
        assert response.status == 416


@given(st.text(max_size=30) | st.from_regex(r"bytes=\d{0,20}-\d{0,20}"), st.integers(1, 10**9))
def test_whatever_range_is_asked_for_lies_within_the_file(header: str, size: int) -> None:
    span = _span(header, size)
    assert span is None or span.start >= span.stop or 0 <= span.start < span.stop <= size


async def test_no_other_address_reads_it(rig: Rig, web: aiohttp.ClientSession) -> None:
    ref = await stored(rig)
    url = await address(rig, ref, file_name="a.png")
    other = hashlib.sha256(b"another").hexdigest()
    wrong = [
        url.partition("?")[0],
        changed(url, signature="0" * 32),
        changed(url, signature=""),
        changed(url, until="9999999999"),
        changed(url, until="never"),
        url.replace("/acme/", "/globex/"),
        url.replace(ref.digest, other),
        url.replace("a.png", "a.exe"),
        (await upload(rig)).replace("/media/acme?", f"/media/acme/{ref.digest}?"),
    ]
    for address_ in wrong:
        async with web.get(address_) as response:
            assert response.status in (403, 404), address_
            assert PNG not in await response.read()


async def test_an_address_expires(rig: Rig) -> None:
    links, ref = rig.service._links, FileRef("acme", "0" * 64)
    for until, works in ((now() + HOUR, True), (now() - HOUR, False)):
        url = links.read(ref, until)
        request = Request(method="GET", url=url, subpath=urlsplit(url).path.removeprefix("/media/"))
        if works:
            assert links.reading(request).ref == ref
        else:
            with pytest.raises(Unverified, match="expired"):
                links.reading(request)


async def test_another_key_signs_nothing_here(rig: Rig, web: aiohttp.ClientSession) -> None:
    forged = Links(b"another key, of enough bytes", rig.core.http.base_url).read(await stored(rig), now() + HOUR)
    async with web.get(forged) as response:
        assert response.status == 403


@pytest.mark.parametrize(
    ("data", "mime"),
    [
        (b"<!DOCTYPE html><script>alert(1)</script>", "text/html"),
        (b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>', "image/svg+xml"),
        (b"%PDF-1.7\n", "application/pdf"),
        (b"MZ\x90\0", "application/x-msdownload"),
    ],
)
async def test_what_a_browser_could_run_is_saved_and_not_shown(
    rig: Rig, web: aiohttp.ClientSession, data: bytes, mime: str
) -> None:
    async with web.get(await address(rig, await stored(rig, data, mime))) as response:
        assert response.headers["content-disposition"].startswith("attachment;")
        assert response.headers["content-security-policy"] == "default-src 'none'; sandbox"


async def test_a_file_that_is_put_can_be_read_and_is_named_by_its_hash(rig: Rig, web: aiohttp.ClientSession) -> None:
    url = await upload(rig)
    async with web.put(url, data=PNG, headers={"content-type": "image/jpeg", "expect": "100-continue"}) as response:
        assert response.status == 201
        file = msgspec.json.decode(await response.read(), type=StoredFile)
    assert file == StoredFile(ref=f"media:acme/{hashlib.sha256(PNG).hexdigest()}", mime="image/png", size=len(PNG))
    async with web.get(await address(rig, FileRef.parse(file.ref))) as response:
        assert await response.read() == PNG


async def chunks(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), 50_000):
        yield data[start : start + 50_000]


async def test_what_can_not_be_kept_is_refused_by_name(rig: Rig, web: aiohttp.ClientSession) -> None:
    url = await upload(rig)
    large = bytes(500_000)
    for body in (large, chunks(large)):
        async with web.put(url, data=body) as response:
            assert (response.status, "400000" in await response.text()) == (413, True)
    async with web.put(url, data=b"") as response:
        assert (response.status, await response.text()) == (400, "the file is empty\n")
    async with web.put(url, data=PNG, headers={"content-encoding": "gzip"}) as response:
        assert response.status == 415
    for wrong in (
        changed(url, signature="0"),
        url.replace("/acme?", "/globex?"),
        await address(rig, await stored(rig)),
    ):
        async with web.put(wrong, data=PNG) as response:
            assert response.status == 403


async def test_a_page_elsewhere_may_put_and_read(rig: Rig, web: aiohttp.ClientSession) -> None:
    async with web.options(await upload(rig), headers={"access-control-request-method": "PUT"}) as response:
        assert response.status == 204
        assert "PUT" in response.headers["access-control-allow-methods"]
        assert response.headers["access-control-allow-origin"] == "*"


async def test_questions_that_have_no_answer_say_why(rig: Rig) -> None:
    ref = str(await stored(rig))
    missing = str(FileRef("acme", "0" * 64))
    for question, tenant, code in (
        (MediaUrl(ref=missing), "acme", "not_found"),
        (MediaUrl(ref=ref), "globex", "not_found"),
        (MediaUrl(ref="media:acme/../globex"), "acme", "malformed"),
        (MediaUrl(ref=ref, expires_in_s=0), "acme", "malformed"),
        (MediaUrl(ref=ref, expires_in_s=10**9), "acme", "malformed"),
        (MediaUpload(expires_in_s=10**6), "acme", "malformed"),
    ):
        error = msgspec.json.decode(await asked(rig, question, tenant), type=Answer).error
        assert error is not None
        assert error.code == code


async def test_a_file_of_which_a_part_is_gone_breaks_off(rig: Rig, web: aiohttp.ClientSession) -> None:
    ref = await stored(rig)
    bucket = f"OBJ_{rig.service._layout.media('acme')}"
    await rig.link.request(rig.link.api(f"STREAM.MSG.DELETE.{bucket}"), b'{"seq": 2}')
    url = await address(rig, ref)
    with pytest.raises((aiohttp.ClientPayloadError, aiohttp.ServerDisconnectedError, ConnectionResetError)):
        async with web.get(url) as response:
            await response.read()
