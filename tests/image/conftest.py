"""The image, its base and a stranger's gateway on that base, each built once for all tests that run them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest

from sluiceway.testing.nats import NatsServer, nats_server

from .containers import ROOT, Containers, Unusable

REVISION = "0123456789abcdef0123456789abcdef01234567"
MIRROR = "mirror.example"


@pytest.fixture(scope="session")
def containers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Containers]:
    if not os.environ.get("SLUICEWAY_IMAGE_TEST"):
        pytest.skip("`make image-test` builds the image and runs this")
    folder = tmp_path_factory.mktemp("containers")
    try:
        containers = Containers(folder)
        containers.stand_in(folder)
    except Unusable as error:
        pytest.skip(str(error))
    yield containers
    containers.close()
    shutil.rmtree(folder, ignore_errors=True)


def build(containers: Containers, name: str, *options: str) -> str:
    """The image under a name, with every way of saying where pip looks in use."""
    label, mirror = f"org.opencontainers.image.revision={REVISION}", f"PIP_TRUSTED_HOST={MIRROR}"
    said = ("--label", label, "--build-arg", mirror)
    containers.build(name, "helm/image/Containerfile", *said, *options)
    return f"localhost/{name}:latest"


@pytest.fixture(scope="session")
def image(containers: Containers) -> str:
    return build(containers, "sluiceway", "--layers")


@pytest.fixture(scope="session")
def base(containers: Containers, image: str) -> str:
    return build(containers, "sluiceway-base", "--layers", "--target", "base")


@pytest.fixture(scope="session")
def plugin(containers: Containers, base: str) -> str:
    context = ROOT / "tests/plugin"
    containers.build("pigeonpost", "tests/plugin/Containerfile", f"--build-arg=BASE_IMAGE={base}", context=context)
    return "localhost/pigeonpost:latest"


@pytest.fixture(scope="session")
def nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    """A real server, which the containers reach over the host's loopback."""
    with nats_server(tmp_path_factory.mktemp("nats")) as server:
        yield server
