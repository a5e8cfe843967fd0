"""Logins at NATS of each kind, in files that are changed as kubelet does it, and a server that knows one of them."""

from __future__ import annotations

import base64
import binascii
import json
from pathlib import Path
from typing import Any

from nacl.signing import SigningKey

from sluiceway import config
from sluiceway.config import Nats


class Login:
    """What is written into the file of a process, and into the server's configuration, is the login of a name."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.file = folder / "login"
        self._kind = kind
        self._folder = folder

    def write(self, name: str) -> None:
        """Into the file, in one go."""
        new = self._folder / "new"
        new.write_text(_creds(name) if self._kind == "credentials" else f"{name}\n")
        new.replace(self.file)

    def of_server(self, name: str) -> str:
        """The configuration of a server that knows this login alone."""
        if self._kind == "password":
            return f'authorization {{ user: desk, password: "{name}" }}\n'
        if self._kind == "token":
            return f'authorization {{ token: "{name}" }}\n'
        preload = "\n".join(f"{_public('A', each)}: {_account(each)}" for each in ("system", name))
        return (
            f"operator: {_operator()}\nsystem_account: {_public('A', 'system')}\n"
            f"resolver: MEMORY\nresolver_preload: {{\n{preload}\n}}\n"
        )

    def settings(self, url: str) -> Nats:
        """As a process reads them."""
        user = 'user = "desk"\n' if self._kind == "password" else ""
        key = f'{self._kind} = "{"" if self._kind == "credentials" else "file:"}{self.file}"\n'
        (file := self._folder / "sluiceway.toml").write_text(f'[nats]\nurl = "{url}"\n{user}{key}')
        return config.load(str(file), {}).core.nats


KINDS = {"O": 14 << 3, "A": 0, "U": 20 << 3}
"""Operator, account and user: https://docs.nats.io/running-a-nats-service/configuration/securing_nats/auth_intro/nkey_auth"""
SEED = 18 << 3


def _pair(name: str) -> SigningKey:
    return SigningKey(name.encode().ljust(32, b"."))


def _seed(kind: str, name: str) -> str:
    return _encoded(bytes((SEED | KINDS[kind] >> 5, (KINDS[kind] & 31) << 3)) + bytes(_pair(name)))


def _public(kind: str, name: str) -> str:
    return _encoded(bytes((KINDS[kind],)) + bytes(_pair(name).verify_key))


def _encoded(data: bytes) -> str:
    return base64.b32encode(data + binascii.crc_hqx(data, 0).to_bytes(2, "little")).rstrip(b"=").decode()


def _jwt(issuer: tuple[str, str], subject: tuple[str, str], claims: dict[str, Any]) -> str:
    """https://docs.nats.io/running-a-nats-service/nats_admin/security/jwt"""
    body = {
        "jti": "-",
        "iat": 1,
        "iss": _public(*issuer),
        "sub": _public(*subject),
        "name": subject[1],
        "nats": {"version": 2, **claims},
    }
    parts = ({"typ": "JWT", "alg": "ed25519-nkey"}, body)
    signed = ".".join(_base64(json.dumps(part).encode()) for part in parts)
    return f"{signed}.{_base64(_pair(issuer[1]).sign(signed.encode()).signature)}"


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _operator() -> str:
    return _jwt(("O", "operator"), ("O", "operator"), {"type": "operator"})


def _account(name: str) -> str:
    names = ("subs", "data", "payload", "imports", "exports", "conn", "leaf")
    limits = dict.fromkeys(names, -1) | {"wildcards": True}
    return _jwt(("O", "operator"), ("A", name), {"type": "account", "limits": limits})


def _creds(name: str) -> str:
    limits = dict.fromkeys(("subs", "data", "payload"), -1)
    user = _jwt(("A", name), ("U", name), {"type": "user", **limits})
    seed = _seed("U", name)
    return (
        f"-----BEGIN NATS USER JWT-----\n{user}\n------END NATS USER JWT------\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
    )
