"""The fields of a multipart/form-data body (RFC 7578), files among them. Keeps nothing on disk."""

from __future__ import annotations

import logging

from python_multipart import exceptions
from python_multipart.multipart import Field, File, FormParser, parse_options_header

from .errors import Malformed

KIND = "multipart/form-data"
logging.getLogger(FormParser.__module__).setLevel(logging.CRITICAL)  # it tells of every stranger's broken form


def fields(content_type: str, body: bytes, most: int) -> list[tuple[str, bytes]]:
    """Names and values in the order sent, at most so many. Raises `Malformed`."""
    kind, options = parse_options_header(content_type.encode("latin-1", "replace"))
    if kind != KIND.encode() or not options.get(b"boundary"):
        raise Malformed(f"the body is not {KIND}", 415)
    found: list[tuple[str, bytes]] = []

    def add(name: bytes | None, value: bytes) -> None:
        if len(found) == most:
            raise Malformed(f"the form has more than {most} fields", 413)
        found.append(((name or b"").decode("utf-8", "replace"), value))

    def on_field(field: Field) -> None:
        add(field.field_name, field.value or b"")

    def on_file(file: File) -> None:
        file.file_object.seek(0)
        add(file.field_name, file.file_object.read())
        file.close()

    config = {"MAX_MEMORY_FILE_SIZE": len(body) + 1}
    try:
        parser = FormParser(KIND, on_field, on_file, boundary=options[b"boundary"], config=config)
        parser.write(body)
        parser.finalize()
    except exceptions.FormParserError as error:
        raise Malformed(f"the form can't be read: {error}") from error
    return found
