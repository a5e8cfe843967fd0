"""What is written beside the chart is what it does: the table of values, the notes after an install."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from .chart import CHART, ROOT, VALUES, helm


@pytest.mark.parametrize("script", ["reference.py", "streams.py"])
def test_what_is_made_from_values_and_code_is_up_to_date(script: str) -> None:
    command: list[str | Path] = [sys.executable, ROOT / "helm" / script, "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def notes(name: str) -> str:
    """What is told after an install. Helm 3 executes these too, but tells them to a cluster alone."""
    values = [word for file in VALUES[name] for word in ("-f", str(file))]
    done = helm("helm4", "install", "sluiceway", CHART, "--dry-run=client", "-n", "channels", *values)
    assert done.returncode == 0, done.stderr
    return done.stdout.partition("NOTES:\n")[2]


def test_the_notes_tell_each_webhook_and_whose_it_is() -> None:
    told = notes("examples/small")
    assert "  https://hooks.example.com/hooks/twilio-uk\n    uk-sms of acme: tel:+447700900123\n" in told
    assert "  https://hooks.example.com/hooks/shop\n    contact-form of acme: web:shop/contact\n" in told
    assert "helm test sluiceway -n channels --logs" in told
    assert "routed to by no gateway" not in told


def test_the_notes_tell_what_is_missing() -> None:
    told = notes("ci/everything")
    assert "The connection post (email.smtp) is routed to by no gateway" in told
    assert "Nothing routes to them yet" not in told
