"""A device that is another machine, where ``sartor measure serve`` runs: networks go there as ONNX, figures come back.

The token is read from the environment (``SARTOR_TOKEN``, or ``SARTOR_TOKEN_FILE`` with a file's path) and is kept
nowhere: neither the record nor the command line has it. The connection is not encrypted: use it on a network that you
trust, or through a tunnel (``ssh -L 8790:localhost:8790 pi``).
"""

from __future__ import annotations

import http.client
import json
import os
import urllib.error
import urllib.request
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sartor.errors import InputError, RemoteError
from sartor.trials import Figure

if TYPE_CHECKING:
    from torch import nn

    from sartor.contracts import Candidate

__all__ = ["Remote", "read_token"]

FEATURE = "measuring on another machine"
TOKEN, TOKEN_FILE = "SARTOR_TOKEN", "SARTOR_TOKEN_FILE"
_ANSWER_BYTES = 2**20
_STATUS_S, _MEASURE_S = 10.0, 300.0


def read_token() -> str:
    """Returns the token from the environment or from the file that it names.

    Raises:
        InputError: neither is set, or the file cannot be read.
    """
    if token := os.environ.get(TOKEN, "").strip():
        return token
    file = os.environ.get(TOKEN_FILE)
    if not file:
        raise InputError(f"expected the server's token in {TOKEN}, or the path of a file with it in {TOKEN_FILE}")
    try:
        token = Path(file).read_text().strip()
    except OSError as error:
        raise InputError(f"cannot read the token file {file}: {error.strerror}") from error
    if not token:
        raise InputError(f"the token file {file} is empty")
    return token


class Remote:
    """Measures on another machine.

    Args:
        url: ``http://HOST:PORT``.

    Raises:
        InputError: no token.
        RemoteError: the machine does not answer or refuses the token.
    """

    needs: Literal["architecture", "network", "trained"] = "network"

    def __init__(self, url: str) -> None:
        self.url, self._token = url.rstrip("/"), read_token()
        self.figures: tuple[str, ...] = tuple(self._about["figures"])

    @cached_property
    def _about(self) -> Mapping[str, Any]:
        return self._ask("/device", None, _STATUS_S)

    @property
    def name(self) -> str:
        """What the other machine calls itself: measured figures are kept under it, not under its address."""
        return f"remote {self._about['device']}"

    def cost(self, candidate: Candidate) -> Mapping[str, Figure]:
        """Returns what the other machine measured.

        Raises:
            ExportError: the network cannot be brought to ONNX.
            RemoteError: the machine went away or refused.
        """
        return self.measure(candidate.deployed, candidate.inputs)

    def measure(self, module: nn.Module, inputs: tuple[Any, ...]) -> dict[str, Figure]:
        """Returns the figures of a module on example inputs."""
        from sartor.export.onnx import convert_to_measure

        return self.measure_model(convert_to_measure(module, inputs, FEATURE)[0])

    def measure_model(self, model: bytes) -> dict[str, Figure]:
        """Returns the figures of an ONNX model."""
        answer = self._ask("/measure", model, _MEASURE_S)
        try:
            return {str(name): Figure.from_json(value) for name, value in answer["figures"].items()}
        except (KeyError, TypeError, AttributeError) as error:
            raise RemoteError(f"{self.url} answered what is no figures: {error!r}") from error

    def _ask(self, path: str, body: bytes | None, seconds: float) -> Mapping[str, Any]:
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/octet-stream"}
        request = urllib.request.Request(self.url + path, data=body, headers=headers)
        # The machine is reached as it is named: a proxy of the environment is for other traffic.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=seconds) as response:
                answer: Any = json.loads(response.read(_ANSWER_BYTES))
        except urllib.error.HTTPError as error:
            raise RemoteError(f"{self.url} refused: {_reason(error)}") from error
        except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
            reason = getattr(error, "reason", error)
            what = "while it measured" if body is not None else "when it was asked what it is"
            raise RemoteError(
                f"the machine at {self.url} does not answer {what} ({reason or type(error).__name__}): start sartor"
                " measure serve there again"
            ) from error
        except ValueError as error:
            raise RemoteError(f"{self.url} is not sartor measure serve: it answered no JSON") from error
        if not isinstance(answer, dict):
            raise RemoteError(f"{self.url} is not sartor measure serve: it answered {str(answer)[:40]!r}")
        return answer


def _reason(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.loads(error.read(_ANSWER_BYTES))["error"])
    except (ValueError, KeyError, TypeError):
        return f"{error.code} {error.reason}"
