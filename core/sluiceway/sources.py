"""Where the configuration comes from: TOML files, variables of the environment, files with secrets. Checks no value."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import msgspec

from .errors import ConfigError
from .sections import Core


def tables(path: str) -> dict[str, Any]:
    """What a TOML file has. Raises `ConfigError`."""
    try:
        with open(path, "rb") as stream:
            return tomllib.load(stream)
    except FileNotFoundError as error:
        raise ConfigError(path, "", "no such file; name one with --config, or see the README for an example") from error
    except OSError as error:
        raise ConfigError(path, "", f"can't be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(path, "", f"is not TOML: {error}") from error


def files(folder: Path) -> list[Path]:
    """The TOML files of a folder, but for those that begin with a dot, as editors' do; none without a folder.

    Raises `ConfigError` where it can't be looked into.
    """
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ConfigError(str(folder), "", f"can't be looked into: {error.strerror}") from error
    return [folder / name for name in names if name.endswith(".toml") and not name.startswith(".")]


def with_environment(tables: Mapping[str, Any], environment: Mapping[str, str]) -> dict[str, Any]:
    """Tables with SLUICEWAY_… variables in the places of their keys. Raises `ConfigError`."""
    merged = {key: dict(value) if isinstance(value, dict) else value for key, value in tables.items()}
    sections = {field.name: field.type for field in msgspec.structs.fields(Core)}
    for variable, text in environment.items():
        section, found, key = variable.removeprefix("SLUICEWAY_").lower().partition("__")
        if not (variable.startswith("SLUICEWAY_") and found):
            continue
        known = {f.name: f.type for f in msgspec.structs.fields(sections[section])} if section in sections else {}
        if key not in known:
            raise ConfigError(
                variable, "", "no such setting; write SLUICEWAY_<SECTION>__<KEY>, as in SLUICEWAY_NATS__URL"
            )
        number = int in (known[key], *get_args(known[key])) and text.isdecimal()
        table = merged.setdefault(section, {})
        if isinstance(table, dict):  # anything else is refused soon
            table[key] = int(text) if number else text
    return merged


def secret(path: Path) -> tuple[str, str]:
    """What a file of one secret has, and what is wrong where that is nothing."""
    try:
        return path.read_text(encoding="utf-8").strip(), f"the file {path} is empty"
    except (OSError, UnicodeDecodeError) as error:
        return "", f"the file {path} can't be read: {error.__class__.__name__}; create it, or use env:NAME"
