"""Images built and containers run, by buildah and podman with a store of their own. Pulls nothing from a registry."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
TOOLS = ("buildah", "podman", "runc", "debootstrap")
DRIVERS = ("overlay", "vfs")
PYTHON_IMAGE = "docker.io/library/python:3.11-slim"
BARE_IMAGE = "localhost/bare:latest"
MEMORY = 64 << 20
NOT_IN_AN_IMAGE = ("./var/cache/apt/*", "./var/lib/apt/lists/*", "./usr/share/doc", "./usr/share/man")
NOT_TO_RUN = ("./usr/bin/*sh", "./usr/bin/perl*", "./usr/bin/apt*", "./usr/bin/dpkg*", "./usr/lib/python3.11/ensurepip")
"""What the image that gateways run on does without here, so that it is known that they need no shell and no pip."""
WAIT_S = 60


class Unusable(Exception):
    """This machine can't build or run containers; its text says why."""


class Containers:
    """A store of images and what runs from it."""

    def __init__(self, folder: Path) -> None:
        if os.geteuid() != 0:
            raise Unusable("containers are built and run as root, and this is another user")
        if missing := [tool for tool in TOOLS if shutil.which(tool) is None]:
            raise Unusable(f"not installed: {', '.join(missing)}; .ci/run installs Debian's packages of these names")
        self._places = ["--root", str(folder / "store"), "--runroot", str(folder / "run")]
        failed = {driver: self._try(driver) for driver in DRIVERS}
        usable = [driver for driver, error in failed.items() if not error]
        if not usable:
            raise Unusable(f"podman can't keep images here: {failed}")
        self._store = [*self._places, "--storage-driver", usable[0]]
        self.secrets = pip_secrets(folder)
        self.memory: tuple[str, ...] = ()

    def _try(self, driver: str) -> str:
        done = subprocess.run(
            ["podman", *self._places, "--storage-driver", driver, "info"], capture_output=True, text=True, check=False
        )
        return done.stderr if done.returncode else ""

    def podman(self, *arguments: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        """To its end. Raises `AssertionError` with what it said where it fails."""
        return said(["podman", *self._store, *map(str, arguments)], check)

    def stand_in(self, folder: Path) -> None:
        """A Debian with Python under the official image's name, and one with hardly more than Python to run on."""
        root = folder / "debian"
        packages = "python3-venv,python3-distutils,ca-certificates"
        made = said(["debootstrap", "--variant=minbase", f"--include={packages}", "bookworm", str(root)], check=False)
        if made.returncode:
            raise Unusable(f"debootstrap can't make a Debian here: {(made.stderr or made.stdout)[-500:]}")
        for image, excluded in ((PYTHON_IMAGE, ()), (BARE_IMAGE, NOT_TO_RUN)):
            archive = folder / "image.tar"
            exclude = [f"--exclude={pattern}" for pattern in (*NOT_IN_AN_IMAGE, *excluded)]
            said(["tar", "-C", str(root), *exclude, "-cf", str(archive), "."])
            self.podman("import", "--quiet", archive, image)
        shutil.rmtree(root)
        done = self.run(BARE_IMAGE, "python3", "--version", check=False)
        if done.returncode:
            raise Unusable(f"podman can't run a container here: {done.stderr}")
        limit = ("--memory", str(MEMORY), "--memory-swap", str(MEMORY))
        self.memory = () if self.run(BARE_IMAGE, "true", options=limit, check=False).returncode else limit

    def build(self, image: str, file: str, *options: str, context: Path = ROOT) -> None:
        """An image from a Containerfile of ours, with the pip configuration of this machine."""
        how = [
            "--isolation",
            "chroot",
            "--network",
            "host",
            *self.secrets,
            "--build-arg",
            f"RUNTIME_IMAGE={BARE_IMAGE}",
        ]
        said(["buildah", *self._store, "bud", *how, "-f", str(ROOT / file), "-t", image, *options, str(context)])

    def run(
        self, image: str, *arguments: str, options: tuple[str, ...] = (), check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """A container to its end."""
        return self.podman("run", "--rm", *RESTRICTED, *options, image, *arguments, check=check)

    @contextmanager
    def running(self, image: str, *arguments: str, options: tuple[str, ...] = ()) -> Iterator[Container]:
        """A container in the background; removed at the end."""
        started = self.podman("run", "--detach", *RESTRICTED, *self.memory, *options, image, *arguments)
        container = Container(self, started.stdout.strip())
        try:
            yield container
        finally:
            self.podman("rm", "--force", "--time", "0", container.name)

    def layers(self, image: str) -> list[str]:
        """The hashes of its layers' contents, from the lowest."""
        return self.podman("inspect", image, "--format", "{{range .RootFS.Layers}}{{.}} {{end}}").stdout.split()

    def close(self) -> None:
        """Take everything away again: these stores are large."""
        self.podman("rm", "--all", "--force", "--time", "0", check=False)
        said(["buildah", *self._store, "rm", "--all"], check=False)
        self.podman("rmi", "--all", "--force", check=False)


RESTRICTED = (
    *("--runtime", "runc", "--network", "host", "--read-only", "--tmpfs", "/tmp:mode=1777"),
    *("--cap-drop", "all", "--security-opt", "no-new-privileges"),
    *("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"),
)
"""As a pod of the restricted profile; the host's network and the limits are what works within a container, too."""


class Container:
    """One that runs."""

    def __init__(self, containers: Containers, name: str) -> None:
        self.name = name
        self._containers = containers

    def _tells(self, field: str) -> str:
        return self._containers.podman("inspect", self.name, "--format", "{{.State." + field + "}}").stdout.strip()

    @property
    def log(self) -> str:
        done = self._containers.podman("logs", self.name)
        return done.stdout + done.stderr

    def status(self) -> dict[str, str]:
        """What the kernel says of its first process, as in proc(5): Uid, CapEff, VmHWM."""
        lines = Path(f"/proc/{self._tells('Pid')}/status").read_text().splitlines()
        return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}

    def mounts(self) -> dict[str, set[str]]:
        """By mount point, the options."""
        lines = Path(f"/proc/{self._tells('Pid')}/mountinfo").read_text().splitlines()
        return {fields[4]: set(fields[5].split(",")) for fields in map(str.split, lines)}

    def terminate(self) -> None:
        """SIGTERM to its first process, as Kubernetes sends it."""
        os.kill(int(self._tells("Pid")), signal.SIGTERM)

    def ended(self) -> int:
        """Wait for its end; its exit code. Fails where the kernel ended it for its memory."""
        deadline = time.monotonic() + WAIT_S
        while self._tells("Running") == "true":
            assert time.monotonic() < deadline, f"it does not end: {self.log}"
            time.sleep(0.1)
        assert self._tells("OOMKilled") == "false", "it needs more memory than it has"
        return int(self._tells("ExitCode"))


def said(command: list[str], check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run it to its end. Raises `AssertionError` with the last that it said where it fails."""
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    assert not check or done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done


PASSED_ON = ("index-url", "extra-index-url", "trusted-host", "proxy", "timeout", "retries")
MARK = "a-mark-that-no-image-may-bear"


def pip_secrets(folder: Path) -> list[str]:
    """This machine's pip configuration as secrets of the build: where to look, whom to trust. Its files stay here."""
    told = said([sys.executable, "-m", "pip", "config", "list"]).stdout
    found = re.findall(r"^[^.\n]*\.([a-z-]+)=(['\"])(.*)\2$", told, re.MULTILINE)
    # The environment's come first in that list, and hold against the files'.
    values = {key: value for key, _, value in reversed(found)}
    lines = [f"# {MARK}", "[global]", *(f"{key} = {values[key]}" for key in PASSED_ON if key in values)]
    secrets = [f"--secret=id=pip.conf,src={folder / 'pip.conf'}"]
    if "cert" in values:
        lines.append("cert = /run/ca.crt")
        secrets.append(f"--secret=id=ca.crt,src={values['cert']}")
    local = [line for line in lines if "file:" not in line]
    (folder / "pip.conf").write_text("\n".join(local) + "\n", encoding="utf-8")
    return secrets
