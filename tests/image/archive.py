"""An image as files: its layers' entries and all bytes of it. Changes nothing."""

from __future__ import annotations

import gzip
import json
import tarfile
from pathlib import Path

from .containers import Containers

GZIP = b"\x1f\x8b"


class Archive:
    """An image, saved to a folder in the form of the OCI."""

    def __init__(self, containers: Containers, image: str, folder: Path) -> None:
        containers.podman("save", "--quiet", "--format", "oci-dir", "--output", folder, image)
        self._blobs = folder / "blobs/sha256"
        (manifest,) = json.loads((folder / "index.json").read_text())["manifests"]
        self._manifest = json.loads(self._blob(manifest["digest"]).read_text())
        self.settings = json.loads(self._blob(self._manifest["config"]["digest"]).read_text())

    def _blob(self, digest: str) -> Path:
        return self._blobs / digest.removeprefix("sha256:")

    def layers(self) -> list[dict[str, tarfile.TarInfo]]:
        """From the lowest, the entries by path."""
        found = []
        for layer in self._manifest["layers"]:
            with tarfile.open(self._blob(layer["digest"])) as tar:
                found.append({entry.name.strip("/"): entry for entry in tar.getmembers()})
        return found

    def bytecode(self) -> list[dict[str, bytes]]:
        """From the lowest layer, by path the first bytes of what is compiled."""
        found = []
        for layer in self._manifest["layers"]:
            with tarfile.open(self._blob(layer["digest"])) as tar:
                compiled = [entry for entry in tar.getmembers() if entry.name.endswith(".pyc")]
                files = ((entry.name.strip("/"), tar.extractfile(entry)) for entry in compiled)
                found.append({name: file.read(16) for name, file in files if file is not None})
        return found

    def has(self, text: str) -> bool:
        """Whether these bytes are anywhere in it: a layer, its settings, its history."""
        for blob in self._blobs.iterdir():
            bytes = blob.read_bytes()
            if text.encode() in (gzip.decompress(bytes) if bytes.startswith(GZIP) else bytes):
                return True
        return False
