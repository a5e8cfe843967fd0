"""A way to NATS that can be shut at a known moment. Changes no byte of what passes."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress


class Gate:
    """Listens on loopback and passes everything on; once `text` has passed, no answer does until `open()`."""

    def __init__(self, port: int, text: bytes) -> None:
        self.shut = threading.Event()
        self._port, self._text = port, text
        self._opened = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"nats://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def open(self) -> None:
        """From now on everything passes."""
        self._opened.set()

    def close(self) -> None:
        """Nobody new passes."""
        self.open()
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near = self._listener.accept()[0]
                far = socket.create_connection(("127.0.0.1", self._port))
                threading.Thread(target=self._out, args=(near, far), daemon=True).start()
                threading.Thread(target=self._back, args=(far, near), daemon=True).start()

    def _out(self, near: socket.socket, far: socket.socket) -> None:
        with suppress(OSError), near, far:
            while data := near.recv(1 << 20):
                if self._text in data:
                    self.shut.set()
                far.sendall(data)

    def _back(self, far: socket.socket, near: socket.socket) -> None:
        with suppress(OSError):
            while data := far.recv(1 << 20):
                if self.shut.is_set():
                    self._opened.wait()
                near.sendall(data)
