"""``sartor measure``: measuring for other machines, over the network or by a folder that is carried."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from rich.console import Console
from rich.table import Table

app = App(name="measure", help="Measure for other machines: serve; or pack, run, unpack a folder to carry.")


@app.command
def serve(
    *,
    host: str = "127.0.0.1",
    port: Annotated[int, Parameter(name=["--port", "-p"])] = 8790,
    token_file: Path | None = None,
    most: str = "64MiB",
) -> None:
    """Measure the networks that a search on another machine sends; it says --device http://HOST:PORT.

    Parameters
    ----------
    host
        Address to listen on: this machine alone by default; 0.0.0.0 for all, on a network that you trust.
    port
        Port to listen on; 0 takes a free one.
    token_file
        File with the token that clients must give; by default SARTOR_TOKEN, else a new one is printed.
    most
        Largest network taken.
    """
    from sartor.devices.remote import TOKEN, TOKEN_FILE, read_token
    from sartor.devices.server import MeasureServer, new_token
    from sartor.units import parse_figure

    if token_file is not None:
        os.environ.pop(TOKEN, None)
        os.environ[TOKEN_FILE] = str(token_file)
    given = token_file is not None or TOKEN in os.environ or TOKEN_FILE in os.environ
    token = read_token() if given else new_token()
    with MeasureServer(token, host=host, port=port, most_bytes=int(parse_figure("model_bytes", most))) as server:
        print(f"measuring on {server.device.name}")
        print(f"listening on {server.url}")
        if not given:
            print(f"on the other machine: export SARTOR_TOKEN={token}")
        print("stop with Ctrl-C", flush=True)
        server.serve_forever()


@app.command
def pack(*files: Path, out: Annotated[Path, Parameter(name=["--out", "-o"])]) -> None:
    """Copy ONNX files into a new folder to carry to another machine.

    Parameters
    ----------
    files
        ONNX files; each is called by its name without the ending.
    out
        The new folder.
    """
    from sartor.devices.onnx_files import pack as make

    folder = make({file.stem: file for file in files}, out)
    print(f"{folder}: {len(files)} networks; on the other machine: sartor measure run {folder}")


@app.command
def run(folder: Path, /) -> None:
    """Measure the networks of a folder on this machine; the figures are written into it.

    Parameters
    ----------
    folder
        Of sartor measure pack.
    """
    from sartor.devices.onnx_files import run_pack

    print(f"{run_pack(folder)}: carry the folder back and run sartor measure unpack {folder}")


@app.command
def unpack(folder: Path, /) -> None:
    """Print the figures of a folder that was measured on another machine.

    Parameters
    ----------
    folder
        As it came back.
    """
    from sartor.devices.onnx_files import unpack as read
    from sartor.units import format_figure

    device, networks = read(folder)
    names = list(next(iter(networks.values())))
    table = Table("network", *names, "error", "note", box=None, header_style="bold", pad_edge=False, title=device)
    for name, figures in networks.items():
        error = figures[names[0]].error
        shown = [format_figure(key, figures[key].value) for key in names]
        table.add_row(name, *shown, "" if error is None else f"±{error:.1%}", figures[names[0]].note)
    Console().print(table)
