"""A rendered pod's container as a process: its volumes as folders, its ports on loopback. Starts what is rendered only.

What stands in for the image is the `sluiceway` of this environment. Paths of mounts, and addresses that containers
listen on, are replaced by those of the test, in the files that are mounted, the arguments and the variables.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from sluiceway.testing.ports import free_port

from .chart import Resource

ENTRY_POINT = Path(sys.executable).parent / "sluiceway"
WAIT_S = 60


class Pod:
    """One pod of a release, in a folder of its own. `services` has where the others' Services lead to."""

    def __init__(self, folder: Path, found: dict[str, Resource], spec: Resource, secrets: dict[str, dict[str, str]]):
        self.folder = folder
        self._found = found
        self._spec = spec
        self._secrets = secrets
        self.container: Resource = spec["containers"][0]
        self.ports = {port["name"]: free_port() for port in self.container.get("ports", ())}
        self.services: dict[str, str] = {}
        self.process: subprocess.Popen[bytes] | None = None

    def local(self, text: str) -> str:
        """A text as it is true here."""
        here = {mount["mountPath"]: str(self.folder / mount["name"]) for mount in self.container["volumeMounts"]}
        for port in self.container.get("ports", ()):
            here[f"0.0.0.0:{port['containerPort']}"] = f"127.0.0.1:{self.ports[port['name']]}"
        here |= self.services
        return re.sub("|".join(map(re.escape, here)), lambda found: here[found[0]], text)

    def mount(self) -> None:
        """Write every volume as the kubelet does: files are links into a folder that is swapped as a whole."""
        for volume in self._spec["volumes"]:
            self.update(volume["name"], self._files(volume))
        for mount in self.container["volumeMounts"]:
            (self.folder / mount["name"]).mkdir(parents=True, exist_ok=True)  # emptyDir, and a spool's claim

    def update(self, volume: str, files: dict[str, str]) -> None:
        """A volume's files anew."""
        folder = self.folder / volume
        fresh = folder / f"..{time.time_ns()}"
        fresh.mkdir(parents=True)
        for name, text in files.items():
            (fresh / name).write_text(self.local(text), encoding="utf-8")
        (folder / "..new").symlink_to(fresh.name)
        (folder / "..new").replace(folder / "..data")
        for name in files:
            if not (folder / name).is_symlink():
                (folder / name).symlink_to(Path("..data") / name)

    def _files(self, source: dict[str, Any]) -> dict[str, str]:
        match source:
            case {"configMap": dict() as one}:
                return _items(self._found[f"ConfigMap/{one['name']}"]["data"], one)
            case {"secret": dict() as one}:
                return _items(self._secrets[one.get("secretName") or one["name"]], one)
            case {"projected": {"sources": sources}}:
                return {name: text for one in sources for name, text in self._files(one).items()}
        return {}

    @property
    def environment(self) -> dict[str, str]:
        """The container's variables, and of ours what lets Python start."""
        variables = {"PATH": os.environ["PATH"], "TMPDIR": str(self.folder / "tmp")}
        for variable in self.container.get("env", ()):
            match variable:
                case {"name": name, "value": value}:
                    variables[name] = self.local(value)
                case {"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}:
                    variables[name] = self._secrets[secret][key]
        return variables

    def command(self, *arguments: str) -> list[str]:
        """What it runs, or these arguments of another command in its place."""
        entry = self.container.get("command") or [str(ENTRY_POINT)]
        return [*entry, *map(self.local, arguments or self.container["args"])]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """To its end, as `kubectl exec` does with arguments."""
        command = self.command(*arguments)
        return subprocess.run(
            command, env=self.environment, cwd=self.folder, capture_output=True, text=True, timeout=WAIT_S, check=False
        )

    def start(self) -> None:
        with (self.folder / "log").open("wb") as log:
            self.process = subprocess.Popen(
                self.command(), env=self.environment, cwd=self.folder, stdout=log, stderr=subprocess.STDOUT
            )

    def probe(self, name: str) -> tuple[int, str]:
        """The status that a probe sees, and what the process says; 0 where nobody answers."""
        get = self.container[name]["httpGet"]
        url = f"http://127.0.0.1:{self.ports[get['port']]}{get['path']}"
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return int(answer.status), answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def until(self, name: str, status: int = 200, says: str = "") -> None:
        """Wait until a probe sees this. Raises `AssertionError` with the log where it ends before or never does."""
        deadline = time.monotonic() + WAIT_S
        while not ((seen := self.probe(name))[0] == status and seen[1].startswith(says)):
            assert self.process is not None
            assert self.process.poll() is None, self.log
            assert time.monotonic() < deadline, self.log
            time.sleep(0.1)

    def end(self) -> int:
        """SIGTERM, as the kubelet sends it; its exit code."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(self._spec["terminationGracePeriodSeconds"])

    def kill(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(encoding="utf-8")


def _items(data: dict[str, str], source: dict[str, Any]) -> dict[str, str]:
    """All of it, or what is chosen, under the names that are chosen."""
    if "items" in source:
        return {item["path"]: data[item["key"]] for item in source["items"]}
    return data
