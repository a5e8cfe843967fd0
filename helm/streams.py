"""Writes files/streams.json, which NACK's resources are made of, from the streams of the contract. Asks no server.

`--check` only says whether it is up to date.
https://github.com/nats-io/nack/blob/main/deploy/crds.yml names the fields. Where the names of a deployment stand, there
are words for the template to replace; durations are Go's.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from sluiceway.bus.streams import Layout
from sluiceway.config import Nats

FILE = Path(__file__).parent / "sluiceway" / "files" / "streams.json"
PREFIX, NAMES, TENANT = "__prefix__", "__names__", "__tenant__"
FIELDS = {
    "name": "name",
    "subjects": "subjects",
    "retention": "retention",
    "storage": "storage",
    "discard": "discard",
    "max_age": "maxAge",
    "max_bytes": "maxBytes",
    "max_msgs_per_subject": "maxMsgsPerSubject",
    "duplicate_window": "duplicateWindow",
    "allow_direct": "allowDirect",
    "allow_rollup_hdrs": "allowRollup",
    "allow_msg_ttl": "allowMsgTtl",
    "allow_msg_schedules": "allowMsgSchedules",
    "sources": "sources",
}
"""The server's names, and NACK's. Another key is an error here, not a stream that lacks it there."""
LATER = {"num_replicas", "max_bytes"}
"""What values say."""


def main() -> None:
    layout = Layout(Nats(prefix=PREFIX, names=NAMES))
    media = layout.media(TENANT)
    made = [spec(config) for config in layout.with_media([TENANT]).values() if config["name"] != f"OBJ_{media}"]
    files = spec(layout.with_media([TENANT])[f"OBJ_{media}"])
    wanted = json.dumps({"streams": made, "files": files}, indent=2) + "\n"
    if "--check" not in sys.argv:
        FILE.write_text(wanted, encoding="utf-8")
    elif FILE.read_text(encoding="utf-8") != wanted:
        sys.exit(f"{FILE} is not up to date: run `make chart`")


def spec(config: dict[str, Any]) -> dict[str, Any]:
    """A stream's configuration in NACK's words."""
    return {FIELDS[key]: _value(key, value) for key, value in config.items() if key not in LATER}


def _value(key: str, value: Any) -> Any:
    match key:
        case "max_age" | "duplicate_window":
            return f"{value // 10**9}s"
        case "sources":
            return [_source(**source) for source in value]
    return value


def _source(*, name: str, subject_transforms: list[dict[str, str]]) -> dict[str, Any]:
    transforms = [{"source": one["src"], "dest": one["dest"]} for one in subject_transforms]
    return {"name": name, "subjectTransforms": transforms}


if __name__ == "__main__":
    main()
