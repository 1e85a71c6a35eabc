"""The other end of ``sartor.devices.remote``: measures the ONNX models that it is sent, one at a time.

Listens on this machine alone unless told otherwise, and answers whoever has the token. A model runs in ONNX Runtime,
without custom operators and without files beside it; its size is bounded, and so is the time until it is read. A model
may still take as long and as much memory as it likes: give the token to people you trust.
"""

from __future__ import annotations

import hmac
import json
import secrets
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from sartor import __version__
from sartor.devices.cpu import CpuLatency
from sartor.devices.onnx_files import measure_model
from sartor.errors import InputError, SartorError

__all__ = ["MeasureServer", "new_token"]

MOST_BYTES = 64 * 2**20
_READ_S = 30.0
_SHORTEST_TOKEN = 16


def new_token() -> str:
    """Returns a token that nobody guesses."""
    return secrets.token_urlsafe(24)


class MeasureServer(ThreadingHTTPServer):
    """Serves until ``shutdown``; ``server_address`` says on which port.

    Args:
        token: What clients must say, at least 16 characters.
        host: Address to listen on.
        port: 0 takes a free one.
        most_bytes: Of a model.
        device: What measures.

    Raises:
        InputError: the token is too short, or the address cannot be had.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(
        self,
        token: str,
        *,
        host: str = "127.0.0.1",
        port: int = 8790,
        most_bytes: int = MOST_BYTES,
        device: CpuLatency | None = None,
    ) -> None:
        if len(token) < _SHORTEST_TOKEN:
            raise InputError(f"expected a token of at least {_SHORTEST_TOKEN} characters, got {len(token)}")
        self.token, self.most_bytes, self.device = token, most_bytes, device or CpuLatency()
        self.measuring = threading.Lock()
        try:
            super().__init__((host, port), _Handler)
        except (OSError, OverflowError) as error:
            raise InputError(f"cannot listen on {host}:{port}: {error}") from error

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Says in one line that a client went away; anything else is a fault of ours and is shown whole."""
        error = sys.exc_info()[1]
        if isinstance(error, (ConnectionError, TimeoutError)):
            print(f"{client_address[0]} went away: {type(error).__name__}", flush=True)
        else:
            super().handle_error(request, client_address)

    @property
    def url(self) -> str:
        host, port = self.server_address[:2]
        return f"http://{host if isinstance(host, str) else host.decode()}:{port}"


class _Handler(BaseHTTPRequestHandler):
    server: MeasureServer
    server_version = f"sartor/{__version__}"
    sys_version = ""
    timeout = _READ_S

    def do_GET(self) -> None:
        if not self._allowed():
            return
        if self.path != "/device":
            self._answer(404, {"error": f"no {self.path}: expected /device or /measure"})
            return
        device = self.server.device
        self._answer(200, {"device": device.name, "figures": list(device.figures), "version": __version__})

    def do_POST(self) -> None:
        if not self._allowed():
            return
        if self.path != "/measure":
            self._answer(404, {"error": f"no {self.path}: expected /device or /measure"})
            return
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal():
            self._answer(411, {"error": "expected a Content-Length"})
            return
        if int(length) > self.server.most_bytes:
            self._answer(413, {"error": f"expected at most {self.server.most_bytes} bytes, got {int(length)}"})
            return
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            self.close_connection = True
            return
        with self.server.measuring:
            try:
                figures = measure_model(body, self.server.device)
            except SartorError as error:
                self._answer(422, {"error": str(error)})
                return
        self._answer(200, {"figures": {name: figure.to_json() for name, figure in figures.items()}})

    def _allowed(self) -> bool:
        given = self.headers.get("Authorization", "").encode()
        if hmac.compare_digest(given, f"Bearer {self.server.token}".encode()):
            return True
        self._answer(401, {"error": "wrong token: set SARTOR_TOKEN to what the server was started with"})
        return False

    def _answer(self, status: int, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.close_connection = True
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Says one line a request, without what a client could write into a terminal."""
        text = (format % args).encode("ascii", "backslashreplace").decode()
        print(f"{self.address_string()} {''.join(c if c.isprintable() else '?' for c in text)}", flush=True)
