"""Wrong addresses of machines and files end the start with one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from sluiceway import config
from sluiceway.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[http]\nlisten = "localhost"', "http.listen: must be host:port"),
        ('[http]\nlisten = "28080"', "http.listen: must be host:port"),
        ('[http]\nlisten = "127.0.0.1:99999"', "http.listen: must be host:port"),
        ('[probes]\nlisten = ":9090"', "probes.listen: must be host:port"),
        ('[http]\npublic_url = "hooks.example.com"', "http.public_url: must be https://host"),
        ('[nats]\nurl = "nats://h:abc"', "nats.url: must be nats://host"),
        ('[nats]\nurl = "nats://a,b"', "nats.url: must be nats://host"),
        ("[nats]\nport = 99999", "nats.port: must be a port"),
        ('[http]\ntrusted_proxies = ["::1", "10.0.0.1/8"]', "http.trusted_proxies: must be an address or a network"),
        ('[nats]\nca = "nowhere.pem"', "nats.ca: there is no file nowhere.pem"),
        ('[nats]\ncredentials = "nowhere.creds"', "nats.credentials: there is no file"),
    ],
)
def test_a_place_that_cannot_be_is_named_with_its_key(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "sluiceway.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        config.load(str(file), {})
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "0.0.0.0:8080", "[::1]:8080", "localhost:80"])
def test_places_that_can_be_pass(tmp_path: Path, listen: str) -> None:
    file = tmp_path / "sluiceway.toml"
    file.write_text(f'[http]\nlisten = "{listen}"\n[nats]\nurl = "nats://a:4222,tls://b:4222"')
    assert config.load(str(file), {}).core.http.listen == listen
