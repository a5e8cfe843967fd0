"""MessengerMeta and InstagramMeta and files: where they are fetched from, with what, and what passes the window."""

import msgspec
import pytest

from sluiceway import Wanted
from sluiceway.testing import play
from sluiceway_gateways._meta_messaging import Business, MetaMessaging
from sluiceway_gateways.messenger.meta import MessengerMeta
from sluiceway_gateways.whatsapp.cloud import WhatsAppCloud

from .messaging import INSTAGRAM, MESSENGER, PAGE, PROFILE, received, told

BOTH = pytest.mark.parametrize(
    ("gateway", "account"), [(MESSENGER, PAGE), (INSTAGRAM, PROFILE)], ids=["messenger", "instagram"]
)


@BOTH
def test_a_file_is_asked_for_where_the_delivery_says_without_a_token(gateway: MetaMessaging, account: Business) -> None:
    url = received(told(gateway, store_media=True), "image").media["2"]
    request, asked = play(gateway.locate(Wanted(account=account, reference=url, kind="image", mime="image/jpeg")))
    assert asked == []
    assert (request.method, request.url, request.headers, request.body) == ("GET", url, {}, b"")


@BOTH
def test_an_address_that_is_none_is_for_core_to_refuse(gateway: MetaMessaging, account: Business) -> None:
    url = received(told(gateway, store_media=True), "image-address-broken").media["2"]
    request, _ = play(gateway.locate(Wanted(account=account, reference=url, kind="image", mime="image/png")))
    assert request.url == url


@BOTH
def test_files_are_with_meta_or_where_the_api_is(gateway: MetaMessaging, account: Business) -> None:
    hosts = ("*.fbsbx.com", "*.fbcdn.net", "*.cdninstagram.com")
    assert gateway.media_hosts() == (*hosts, "https://graph.facebook.com")
    simulated = type(gateway)(msgspec.structs.replace(gateway.settings, api_url="http://127.0.0.1:8999"))
    assert simulated.media_hosts() == (*hosts, "http://127.0.0.1:8999")


@pytest.mark.parametrize("gateway", [MessengerMeta, type(INSTAGRAM), WhatsAppCloud])
def test_metas_channels_have_a_window(gateway: type[MetaMessaging] | type[WhatsAppCloud]) -> None:
    assert gateway.capabilities.reply_window
