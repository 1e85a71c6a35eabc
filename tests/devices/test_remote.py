import http.client
import json
import socket
import struct
import threading
import time

import pytest
import torch
from torch import nn

from sartor import _quiet
from sartor.cli import main
from sartor.devices.cpu import CpuLatency
from sartor.devices.named import find_device
from sartor.devices.onnx_files import check_model, measure_file, measure_model, pack, run_pack, unpack
from sartor.devices.remote import Remote, read_token
from sartor.devices.server import MeasureServer
from sartor.errors import InputError, RemoteError
from sartor.export.onnx import convert_to_measure

TOKEN = "a token of the tests"


@pytest.fixture(autouse=True)
def quick(tmp_path, monkeypatch):
    monkeypatch.setattr(_quiet, "_folder", lambda: tmp_path / "lock")
    monkeypatch.delenv("SARTOR_TOKEN_FILE", raising=False)
    monkeypatch.setenv("SARTOR_TOKEN", TOKEN)


def fast():
    return CpuLatency(block_s=0.001, num_blocks=4, max_attempts=1)


@pytest.fixture
def server():
    with MeasureServer(TOKEN, port=0, most_bytes=100_000, device=fast()) as made:
        thread = threading.Thread(target=made.serve_forever, daemon=True)
        thread.start()
        yield made
        made.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def model():
    return convert_to_measure(nn.Conv2d(1, 2, 3), (torch.rand(1, 1, 6, 6),), "test")[0]


def test_a_network_is_measured_on_the_other_machine(server):
    device = find_device(server.url).device
    figures = device.measure(nn.Conv2d(1, 2, 3), (torch.rand(1, 1, 6, 6),))
    assert figures["latency_ms"].kind == "measured" and figures["latency_ms"].value > 0
    assert device.figures == ("latency_ms", "energy_mj") and device.name == f"remote {server.device.name}"


def test_a_wrong_token_is_refused(server, monkeypatch):
    monkeypatch.setenv("SARTOR_TOKEN", "another token of the tests")
    with pytest.raises(RemoteError, match="wrong token"):
        Remote(server.url)


def test_the_token_may_be_in_a_file(tmp_path, monkeypatch):
    monkeypatch.delenv("SARTOR_TOKEN")
    with pytest.raises(InputError, match="SARTOR_TOKEN_FILE"):
        read_token()
    file = tmp_path / "token"
    file.write_text("from a file\n")
    monkeypatch.setenv("SARTOR_TOKEN_FILE", str(file))
    assert read_token() == "from a file"


def test_a_server_needs_a_token_worth_guessing():
    with pytest.raises(InputError, match="at least 16 characters"):
        MeasureServer("short", port=0)


def test_a_client_that_goes_away_is_one_line_and_the_next_is_served(server, capfd):
    with socket.create_connection(server.server_address) as client:
        client.sendall(
            f"POST /measure HTTP/1.1\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: 9000\r\n\r\n".encode()
        )
        # Closing with a linger of zero resets the connection, as a machine that is switched off does.
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert Remote(server.url).name == f"remote {server.device.name}"
    said, deadline = "", time.monotonic() + 10
    while "went away" not in said and time.monotonic() < deadline:
        time.sleep(0.01)
        said += "".join(capfd.readouterr())
    assert "went away: ConnectionResetError" in said and "Traceback" not in said


def test_a_port_in_use_is_said(server):
    with pytest.raises(InputError, match="cannot listen on"):
        MeasureServer(TOKEN, port=server.server_address[1])


def test_bytes_that_are_no_network_are_refused_and_the_server_goes_on(server, model):
    device = Remote(server.url)
    with pytest.raises(RemoteError, match="refused: expected an ONNX file"):
        device.measure_model(b"\xff" * 100)
    assert device.measure_model(model)


def test_too_large_a_network_is_refused_before_it_is_read(server):
    connection = http.client.HTTPConnection(*server.server_address[:2], timeout=10)
    connection.putrequest("POST", "/measure")
    connection.putheader("Authorization", f"Bearer {TOKEN}")
    connection.putheader("Content-Length", "100001")
    connection.endheaders()
    response = connection.getresponse()
    assert (response.status, json.loads(response.read())["error"]) == (413, "expected at most 100000 bytes, got 100001")


def test_a_machine_that_is_not_there_is_said():
    with pytest.raises(RemoteError, match="does not answer when it was asked what it is"):
        Remote("http://127.0.0.1:9")


def test_a_machine_that_vanishes_while_it_measures_is_said(server, model, monkeypatch):
    device = Remote(server.url)

    def vanish(handler):
        handler.connection.close()

    monkeypatch.setattr("sartor.devices.server._Handler.do_POST", vanish)
    with pytest.raises(RemoteError, match="does not answer while it measured.*sartor measure serve"):
        device.measure_model(model)


def test_weights_in_other_files_are_refused(model):
    onnx = pytest.importorskip("onnx")
    parsed = onnx.load_model_from_string(model)
    tensor = parsed.graph.initializer[0]
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/hostname")
    with pytest.raises(InputError, match="keeps weights in other files"):
        check_model(parsed.SerializeToString())


def test_a_network_that_does_not_run_is_said(model):
    onnx = pytest.importorskip("onnx")
    parsed = onnx.load_model_from_string(model)
    parsed.graph.node[0].op_type = "Concatenate"
    with pytest.raises(InputError, match="ONNX Runtime does not run the network"):
        measure_model(parsed.SerializeToString(), fast())


def test_files_are_measured_here_or_there(server, model, tmp_path):
    file = tmp_path / "net.onnx"
    file.write_bytes(model)
    assert set(measure_file(file, server.url)) == {"latency_ms", "energy_mj"}
    with pytest.raises(InputError, match="are measured on cpu or http"):
        measure_file(file, "raspberry-pi-4")


def test_networks_are_carried_there_and_figures_back(model, tmp_path, capsys, monkeypatch):
    file = tmp_path / "net.onnx"
    file.write_bytes(model)
    folder = pack({"net": file}, tmp_path / "carried")
    with pytest.raises(InputError, match="run sartor measure run"):
        unpack(folder)
    monkeypatch.setattr("sartor.devices.onnx_files.CpuLatency", fast)
    run_pack(folder)
    device, networks = unpack(folder)
    assert "ONNX Runtime" in device and networks["net"]["latency_ms"].value > 0
    main_exit(["measure", "unpack", str(folder)])
    assert "latency_ms" in capsys.readouterr().out
    with pytest.raises(InputError, match="exists"):
        pack({"net": file}, folder)


def test_a_folder_that_was_not_packed_is_refused(tmp_path):
    with pytest.raises(InputError, match="is no folder that sartor measure pack wrote"):
        unpack(tmp_path)


def main_exit(tokens):
    try:
        main(tokens)
    except SystemExit as error:
        assert not error.code


def served(port, device=None):
    made = MeasureServer(TOKEN, port=port, device=device or fast())
    thread = threading.Thread(target=made.serve_forever, daemon=True)
    thread.start()
    return made, thread


def stop(made, thread):
    made.shutdown()
    thread.join()
    made.server_close()


def test_a_search_whose_machine_vanishes_stops_and_goes_on_when_it_is_back(tmp_path):
    from sartor import load_task, search
    from sartor.runs import Record

    made, thread = served(0)
    port = made.server_address[1]
    asked = []

    def cut(found, progress):
        asked.append(progress)
        if len(asked) == 1:
            stop(made, thread)

    options = {
        "limits": ["latency=1s"], "trials": 3, "epochs": 0.1, "finalists": 1, "halving": False, "workers": 0,
        "slots": 1,
        "devices": ("counts", f"http://127.0.0.1:{port}"), "out": tmp_path / "out", "strategy": "random",
    }
    from sartor._progress import SearchProgress

    with pytest.raises(RemoteError, match="does not answer while it measured.*go on with --resume"):
        search(
            load_task("images"), **options,
            on_event=lambda event: cut(made, event)
            if isinstance(event, SearchProgress) and event.finished == 1 else None,
        )
    with Record(tmp_path / "out", read_only=True) as record:
        (run,) = record.runs()
        assert run.state == "interrupted"
        assert sum(trial.state == "complete" for trial in record.trials(run.id)) == 1
    made, thread = served(port)
    try:
        front = search(load_task("images"), **options, resume=True)
    finally:
        stop(made, thread)
    assert front[0].costs["latency_ms"].kind == "measured"
