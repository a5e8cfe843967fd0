"""Core takes every sluiceway.toml that is rendered, and the accounts that stand in the examples."""

from __future__ import annotations

from pathlib import Path

import pytest

from sluiceway.config import load

from .chart import VALUES, rendered


@pytest.mark.parametrize("name", VALUES)
def test_every_configuration_is_one(name: str, tmp_path: Path) -> None:
    found = rendered(name)
    accounts = next(resource for key, resource in found.items() if key.endswith("-accounts"))
    there = tmp_path / "etc"
    for folder in ("accounts.d", "nats/ca", "nats/certificate", "nats/login"):
        (there / folder).mkdir(parents=True)
    for file in ("ca/ca.crt", "ca/ca.pem", "certificate/tls.crt", "certificate/tls.key", "login/nats.creds"):
        (there / "nats" / file).touch()
    for file, text in accounts["data"].items():
        (there / "accounts.d" / file).write_text(text, encoding="utf-8")
    written = there / "sluiceway.toml"
    configs = {key: resource["data"]["sluiceway.toml"] for key, resource in found.items() if _is_config(resource)}
    assert configs
    for key, text in configs.items():
        written.write_text(text.replace("/etc/sluiceway", str(there)), encoding="utf-8")
        config = load(str(written), {}, secrets=())
        assert config.core.nats.streams == "check", key
        assert set(config.accounts(config.connections())) == set(config.raw[1]), key


def _is_config(resource: dict[str, dict[str, str]]) -> bool:
    return "sluiceway.toml" in resource.get("data", {})
