"""Text of format=flowed (RFC 3676) as paragraphs; quoted lines keep their marks."""

from __future__ import annotations


def unflowed(text: str, *, delsp: bool) -> str:
    """Soft line ends undone. With `delsp` the space before one belongs to it."""
    lines: list[str] = []
    pieces: list[str] = []
    depth_before = -1
    for line in text.split("\n"):
        body = line.lstrip(">")
        depth = len(line) - len(body)
        body = body.removeprefix(" ")
        if pieces and depth != depth_before:
            lines.append(_quoted("".join(pieces), depth_before))
            pieces = []
        depth_before = depth
        if body.endswith(" ") and body != "-- ":
            pieces.append(body[:-1] if delsp else body)
            continue
        if body == "-- " and pieces:
            lines.append(_quoted("".join(pieces), depth))
            pieces = []
        lines.append(_quoted("".join([*pieces, body]), depth))
        pieces = []
    if pieces:
        lines.append(_quoted("".join(pieces), depth_before))
    return "\n".join(lines)


def _quoted(text: str, depth: int) -> str:
    return f"{'>' * depth} {text}" if depth else text
