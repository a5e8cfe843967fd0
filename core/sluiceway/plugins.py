"""Gateways and simulators by name, found through entry points; shipped ones have no privilege. Configures nothing."""

from __future__ import annotations

import contextlib
import difflib
import inspect
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from .errors import SluicewayError
from .gateway import Gateway
from .simulator import Simulator

GATEWAYS = "sluiceway.gateways"
SIMULATORS = "sluiceway.simulators"


class PluginError(SluicewayError):
    """A gateway or simulator that isn't installed, or can't be used as one."""


def installed(group: str = GATEWAYS) -> dict[str, EntryPoint]:
    """Entry points by name; nothing is imported."""
    return {point.name: point for point in sorted(entry_points(group=group), key=lambda point: point.name)}


def gateway(name: str) -> type[Gateway[Any, Any]]:
    """The class of an installed gateway, such as "sms.twilio". Raises `PluginError`, which says what is wrong."""
    found: type[Gateway[Any, Any]] = _load(GATEWAYS, name, Gateway)
    for attribute in ("channel", "schemes", "capabilities", "settings_type"):
        if not hasattr(found, attribute):
            raise PluginError(f"the gateway {name} has no `{attribute}`; its author must give {found.__name__} one")
    return found


def channels() -> set[str]:
    """Those of the gateways that are installed and can be used."""
    found = set()
    for name in installed():
        with contextlib.suppress(PluginError):
            found.add(gateway(name).channel)
    return found


def simulator(name: str) -> type[Simulator[Any, Any]]:
    """The class of an installed simulator, by its gateway's name. Raises `PluginError`."""
    found: type[Simulator[Any, Any]] = _load(SIMULATORS, name, Simulator)
    return found


def _load(group: str, name: str, base: Any) -> Any:
    points = installed(group)
    what = group.partition(".")[2].removesuffix("s")
    if name not in points:
        near = difflib.get_close_matches(name, points, n=1)
        hint = f"did you mean {near[0]}?" if near else f"installed: {', '.join(points) or 'none'}"
        raise PluginError(f"no {what} named {name} is installed; {hint}")
    try:
        found = points[name].load()
    except (ImportError, AttributeError) as error:
        raise PluginError(f"the {what} {name} can't be imported from {points[name].value}: {error}") from error
    if not (inspect.isclass(found) and issubclass(found, base)):
        raise PluginError(f"{points[name].value} is no {base.__name__}; its author must derive it from one")
    if missing := ", ".join(sorted(getattr(found, "__abstractmethods__", ()))):
        raise PluginError(f"the {what} {name} lacks {missing}; its author must write it")
    return found
