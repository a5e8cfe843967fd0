"""WhatsAppCloud and files: where Meta has them, how it is given them, and both against the simulated Cloud API."""

import base64
import hashlib
import hmac
import json
from typing import Any

import msgspec
import pytest

from sluiceway import (
    Ambiguous,
    Attachment,
    CredentialsRefused,
    File,
    Outbound,
    Received,
    Rejected,
    Request,
    Response,
    SendError,
    Throttled,
    Unreachable,
    Wanted,
)
from sluiceway.testing import deliver, play
from sluiceway_contracts import Media
from sluiceway_gateways.whatsapp.cloud import Number, WhatsAppCloud
from sluiceway_gateways.whatsapp.cloud_simulator import KINDS, WhatsAppSimulator

from .whatsapp import APP, CUSTOMER, FIRST, GATEWAY, HOOK, NUMBER, SECRET, TOKEN

PROOF = hmac.new(SECRET.encode(), TOKEN.encode(), hashlib.sha256).hexdigest()
URL = "https://lookaside.fbsbx.com/whatsapp_business/attachments/?mid=5000&ext=1767225900&hash=ATs"
INVOICE = File(ref="r", mime="application/pdf", size=4, name="invoice.pdf")


def wanted(reference: str = "5000", kind: str = "image") -> Wanted[Number]:
    return Wanted(account=NUMBER, reference=reference, kind=kind, mime="image/jpeg")


def refused(code: int | None, status: int = 400, **more: Any) -> Response:
    return Response.of_json({"error": {"message": "no", "code": code} | more}, status)


ANSWERS = pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (refused(100, error_subcode=33), Rejected),
        (refused(131052), Rejected),
        (refused(190, 401), CredentialsRefused),
        (refused(80007), Throttled),
        (refused(None, 404), Rejected),
        (refused(None, 500), Ambiguous),
        (Response(status=503), Ambiguous),
        (Response(body=b"<html>"), Ambiguous),
        (Response.of_json({"url": "", "id": ""}), Ambiguous),
        (Unreachable("refused"), Unreachable),
    ],
)


class TestFetching:
    def test_meta_is_asked_for_the_address_and_both_times_given_the_token(self) -> None:
        answer = Response.of_json({"url": URL, "mime_type": "image/jpeg", "sha256": "0", "file_size": 4, "id": "5000"})
        request, (asked,) = play(GATEWAY.locate(wanted()), answer)
        assert (asked.method, asked.repeatable) == ("GET", True)
        assert asked.url == f"https://graph.facebook.com/v23.0/5000?appsecret_proof={PROOF}"
        assert (request.method, request.url, request.body) == ("GET", URL, b"")
        assert asked.headers == request.headers == {"authorization": f"Bearer {TOKEN}"}

    def test_an_id_is_never_a_path(self) -> None:
        asked = next(GATEWAY.locate(wanted("1/../2?x=")))
        assert asked.url.startswith("https://graph.facebook.com/v23.0/1%2F..%2F2%3Fx%3D?")

    @ANSWERS
    def test_an_answer_means_what_the_table_says(self, answer: Response | SendError, expected: type[SendError]) -> None:
        with pytest.raises(SendError) as caught:
            play(GATEWAY.locate(wanted()), answer)
        assert type(caught.value) is expected

    def test_files_are_with_meta_or_where_the_api_is(self) -> None:
        hosts = ("*.fbsbx.com", "*.fbcdn.net", "*.cdninstagram.com")
        assert GATEWAY.media_hosts() == (*hosts, "https://graph.facebook.com")
        proxied = WhatsAppCloud(msgspec.structs.replace(APP, api_url="http://localhost:8999/meta/"))
        assert proxied.media_hosts() == (*hosts, "http://localhost:8999")


class TestUploading:
    def test_a_file_is_posted_to_the_number_with_its_type(self) -> None:
        attachment = Attachment(account=NUMBER, file=INVOICE)
        id, (asked,) = play(GATEWAY.upload(attachment), Response.of_json({"id": "5001"}))
        assert id == "5001"
        assert (asked.method, asked.repeatable, asked.body) == ("POST", True, b"")
        assert asked.url == f"https://graph.facebook.com/v23.0/{FIRST}/media?appsecret_proof={PROOF}"
        assert asked.headers["authorization"] == f"Bearer {TOKEN}"
        head, file, _ = asked.pieces
        assert file == INVOICE
        assert isinstance(head, bytes)
        assert b'name="messaging_product"\r\n\r\nwhatsapp\r\n' in head
        assert b'name="type"\r\n\r\napplication/pdf\r\n' in head
        assert b'name="file"; filename="invoice.pdf"\r\ncontent-type: application/pdf' in head

    @ANSWERS
    def test_an_answer_means_what_the_table_says(self, answer: Response | SendError, expected: type[SendError]) -> None:
        with pytest.raises(SendError) as caught:
            play(GATEWAY.upload(Attachment(account=NUMBER, file=INVOICE)), answer)
        assert type(caught.value) is expected

    def test_an_upload_is_used_again_for_less_than_the_30_days_that_it_lasts(self) -> None:
        assert 28 * 86_400 < WhatsAppCloud.uploads_last_s < 30 * 86_400

    def test_an_id_goes_before_an_address(self) -> None:
        part = Media(id="1", kind="file", mime="application/pdf", url="https://shop.example/1", name="a.pdf")
        message = Outbound(message_id="0", account=NUMBER, recipient=CUSTOMER, parts=(part,), media={"1": "5001"})
        assert json.loads(next(GATEWAY.send(message)).body)["document"] == {"id": "5001", "filename": "a.pdf"}


@pytest.fixture
def simulator() -> WhatsAppSimulator:
    return WhatsAppSimulator(APP, HOOK)


def received(simulator: WhatsAppSimulator, **fields: str) -> tuple[Media, str]:
    """The part, and what the gateway needs to find its file."""
    simulator.fields = fields
    (fact,) = deliver(GATEWAY, simulator.deliver(NUMBER, "447700900456", "Look")).facts
    assert isinstance(fact, Received)
    (part,) = fact.parts
    assert isinstance(part, Media)
    return part, fact.media[part.id]


def located(simulator: WhatsAppSimulator, id: str) -> Request:
    flow = GATEWAY.locate(wanted(id))
    return play(flow, simulator.answer(next(GATEWAY.locate(wanted(id)))).response)[0]


def fetched(simulator: WhatsAppSimulator, id: str) -> Response:
    return simulator.answer(located(simulator, id)).response


def uploaded(simulator: WhatsAppSimulator, data: bytes) -> str:
    flow = GATEWAY.upload(Attachment(account=NUMBER, file=INVOICE))
    asked = next(flow)
    body = b"".join(piece if isinstance(piece, bytes) else data for piece in asked.pieces)
    answer = simulator.answer(msgspec.structs.replace(asked, body=body, pieces=())).response
    with pytest.raises(StopIteration) as stop:
        flow.send(answer)
    return str(stop.value.value)


def called(method: str, id: str) -> Request:
    asked = next(GATEWAY.locate(wanted(id)))
    return msgspec.structs.replace(asked, method=method)


class TestSimulator:
    @pytest.mark.parametrize(
        ("field", "word", "kind", "mime"),
        [
            ("image", "cat", "image", "image/png"),
            ("image", "liar", "image", "image/jpeg"),
            ("image", "gone", "image", "image/jpeg"),
            ("video", "large-2", "video", "video/mp4"),
            ("video", "cat", "video", "video/mp4"),
            ("audio", "cat.ogg", "audio", "audio/ogg"),
            ("audio", "cat", "audio", "audio/mpeg"),
            ("voice", "cat", "voice", "audio/ogg"),
            ("document", "cat", "file", "application/pdf"),
            ("sticker", "cat", "sticker", "image/png"),
        ],
    )
    def test_every_kind_of_file_comes_as_meta_tells_it(
        self, simulator: WhatsAppSimulator, field: str, word: str, kind: str, mime: str
    ) -> None:
        part, reference = received(simulator, **{field: word})
        assert (part.kind, part.mime, part.state, reference) == (kind, mime, "pending", word)
        assert part.caption == ("Look" if field in ("image", "video", "document") else None)

    def test_every_field_has_its_case(self) -> None:
        assert KINDS.keys() == {"image", "video", "audio", "voice", "document", "sticker"}

    def test_a_document_has_the_name_that_it_is_given(self, simulator: WhatsAppSimulator) -> None:
        part, _ = received(simulator, document="cat.pdf", filename="invoice.pdf")
        assert (part.name, received(simulator, document="cat.pdf")[0].name) == ("invoice.pdf", None)

    def test_a_word_is_a_file_at_an_address_of_the_simulators(self, simulator: WhatsAppSimulator) -> None:
        request = located(simulator, "a cat?")
        assert request.url == "https://graph.facebook.com/whatsapp_business/attachments/?mid=a%20cat%3F"
        answer = simulator.answer(request).response
        assert (answer.status, answer.headers, answer.body[:4]) == (200, {"content-type": "image/png"}, b"\x89PNG")

    def test_what_is_told_of_a_file_is_true(self, simulator: WhatsAppSimulator) -> None:
        about = json.loads(simulator.answer(called("GET", "cat")).response.body)
        body = fetched(simulator, "cat").body
        assert (about["file_size"], about["sha256"]) == (len(body), hashlib.sha256(body).hexdigest())
        assert (about["id"], about["mime_type"], about["messaging_product"]) == ("cat", "image/png", "whatsapp")

    def test_without_the_token_nobody_gets_it(self, simulator: WhatsAppSimulator) -> None:
        assert simulator.answer(Request.get(located(simulator, "cat").url)).response.status == 401

    def test_an_unknown_id_is_refused_as_meta_does(self, simulator: WhatsAppSimulator) -> None:
        with pytest.raises(Rejected) as caught:
            located(simulator, "gone")
        assert caught.value.provider_code == "100/33"

    @pytest.mark.parametrize(("word", "status"), [("expired", 404), ("redirect", 302), ("empty", 200)])
    def test_an_address_answers_as_the_word_says(self, simulator: WhatsAppSimulator, word: str, status: int) -> None:
        assert fetched(simulator, word).status == status

    def test_the_first_who_asks_may_have_to_come_again(self, simulator: WhatsAppSimulator) -> None:
        statuses = [simulator.answer(called("GET", "throttled")).response.status for _ in range(3)]
        assert statuses == [429, 200, 429]
        with pytest.raises(Throttled):
            located(WhatsAppSimulator(APP, HOOK), "throttled")

    def test_what_is_uploaded_can_be_fetched_and_deleted(self, simulator: WhatsAppSimulator) -> None:
        data = b"%PDF\r\n--\r\n\0\xff" + base64.b64encode(b"x" * 100)
        id = uploaded(simulator, data)
        answer = fetched(simulator, id)
        assert (answer.body, answer.headers) == (data, {"content-type": "application/pdf"})
        assert simulator.answer(called("DELETE", id)).response.body == b'{"success":true}'
        assert simulator.answer(called("DELETE", id)).response.status == 400
        with pytest.raises(Rejected):
            located(simulator, id)

    @pytest.mark.parametrize("changes", [{}, {"headers": {"authorization": f"Bearer {TOKEN}"}}])
    def test_a_form_without_a_file_is_refused(self, simulator: WhatsAppSimulator, changes: dict[str, Any]) -> None:
        asked = next(GATEWAY.upload(Attachment(account=NUMBER, file=INVOICE)))
        answer = simulator.answer(msgspec.structs.replace(asked, pieces=(), **changes)).response
        assert json.loads(answer.body)["error"]["code"] == 100

    def test_its_docstring_names_the_words(self) -> None:
        for word in ("gone", "expired", "throttled", "redirect", "large-<megabytes>", "liar", "empty"):
            assert word in (WhatsAppSimulator.__doc__ or "")
