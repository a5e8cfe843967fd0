"""A release's pods as processes, with the Secrets and ConfigMaps that it needs to be there. Starts none by itself."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import trustme

from .chart import Resource, pods
from .pod import Pod


class Certificates(NamedTuple):
    """What a nats-server on loopback and its clients need, as PEM."""

    ca: str
    server: str
    client: str
    client_key: str

    @classmethod
    def issue(cls) -> Certificates:
        authority = trustme.CA()
        server, client = authority.issue_cert("127.0.0.1"), authority.issue_cert("gateway.example")
        certificates = (server.private_key_and_cert_chain_pem, client.cert_chain_pems[0], client.private_key_pem)
        return cls(*(one.bytes().decode() for one in (authority.cert_pem, *certificates)))


class Release:
    """The pods of a release, by the name of what makes them."""

    def __init__(self, folder: Path, found: dict[str, Resource], secrets: dict[str, dict[str, str]]) -> None:
        self.found = found
        self._pods = {
            key.partition("/")[2]: Pod(folder / key.replace("/", "-"), found, spec, secrets)
            for key, spec in pods(found).items()
        }
        services = {
            f"http://{resource['metadata']['name']}:{port['port']}":
                f"http://127.0.0.1:{self[resource['metadata']['name']].ports[port['targetPort']]}"
            for resource in found.values()
            if resource["kind"] == "Service"
            for port in resource["spec"]["ports"]
        }  # fmt: skip
        for pod in self._pods.values():
            pod.services = services
            pod.mount()

    def __getitem__(self, name: str) -> Pod:
        return self._pods[name]

    def kill(self) -> None:
        for pod in self._pods.values():
            pod.kill()
