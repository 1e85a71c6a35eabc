import json
import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

pytest.importorskip("PIL", reason="reading images needs Pillow")
from PIL import Image

from sartor.errors import DataError, InputError, MissingExtraError
from sartor.export.predict import load, predict

CLASSES = ["dark", "light", "neither"]
FORM = {"height": 2, "width": 2, "channels": 1, "fit": "pad", "deep_max": 65535}
DESCRIPTION = {"classes": CLASSES, "input": FORM, "output": "logits", "task": "images", "version": "0.1.0"}


def write(path, description=DESCRIPTION, prefix="sartor.", scores=3):
    """A network whose scores are (-10, 10, -20) times the mean pixel plus (5, -5, 0)."""
    weight = np.tile(np.array([-10, 10, -20, 0], np.float32)[:scores] / 4, (4, 1))
    bias = np.array([5, -5, 0, 0], np.float32)[:scores]
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["input"], ["flat"]),
            helper.make_node("Gemm", ["flat", "weight", "bias"], ["output"]),
        ],
        "scores",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 1, 2, 2])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", scores])],
        [numpy_helper.from_array(weight, "weight"), numpy_helper.from_array(bias, "bias")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    for key, value in description.items():
        model.metadata_props.add(key=prefix + key, value=value if key == "raw" else json.dumps(value))
    onnx.save(model, path)
    return path


@pytest.fixture
def images(tmp_path):
    paths = [tmp_path / "black.png", tmp_path / "white.png"]
    for path, grey in zip(paths, (0, 255), strict=True):
        Image.new("L", (4, 4), grey).save(path)
    return paths


def test_images_are_labelled_with_probabilities_in_the_order_given(tmp_path, images):
    first, second = predict(write(tmp_path / "a.onnx"), images)
    assert [first.path, second.path] == images
    scores = np.array([5.0, -5.0, 0.0])
    expected = np.exp(scores) / np.exp(scores).sum()
    assert first.labels[0] == ("dark", pytest.approx(expected[0]))
    assert [name for name, _ in first.labels] == ["dark", "neither", "light"]
    assert second.labels[0][0] == "light"
    assert sum(probability for _, probability in second.labels) == pytest.approx(1)


def test_only_the_top_labels_are_given(tmp_path, images):
    assert [len(found.labels) for found in predict(write(tmp_path / "a.onnx"), images, top=1)] == [1, 1]
    assert len(predict(write(tmp_path / "a.onnx"), images, top=99)[0].labels) == 3
    with pytest.raises(InputError, match="at least 1"):
        predict(tmp_path / "a.onnx", images, top=0)


def test_the_description_comes_back(tmp_path):
    _, description = load(write(tmp_path / "a.onnx"))
    assert description == DESCRIPTION


def test_a_missing_file_names_the_nearest(tmp_path, images):
    write(tmp_path / "network.onnx")
    with pytest.raises(InputError, match=r"no file .*netwrk\.onnx; did you mean 'network\.onnx'\?"):
        predict(tmp_path / "netwrk.onnx", images)


def test_a_folder_is_no_file(tmp_path, images):
    with pytest.raises(InputError, match="got the folder"):
        predict(tmp_path, images)


@pytest.mark.parametrize("content", [b"", b"not a network at all", b"\x89PNG\r\n\x1a\n" + bytes(100)])
def test_a_file_that_is_not_onnx_is_refused(tmp_path, images, content):
    path = tmp_path / "a.onnx"
    path.write_bytes(content)
    with pytest.raises(InputError, match="is not an ONNX file"):
        predict(path, images)


def test_a_truncated_file_is_refused(tmp_path, images):
    path = write(tmp_path / "a.onnx")
    path.write_bytes(path.read_bytes()[:150])
    with pytest.raises(InputError, match="is not an ONNX file"):
        predict(path, images)


def test_a_file_of_another_tool_is_refused(tmp_path, images):
    with pytest.raises(InputError, match="was not exported by Sartor"):
        predict(write(tmp_path / "a.onnx", prefix="other."), images)


def test_a_file_of_a_task_without_classes_is_refused(tmp_path, images):
    with pytest.raises(InputError, match="exported for the task 'atoms'"):
        predict(write(tmp_path / "a.onnx", {"version": "0.1.0", "task": "atoms"}), images)


def test_a_damaged_description_is_named(tmp_path, images):
    with pytest.raises(InputError, match=r"metadata 'sartor\.raw' is damaged"):
        predict(write(tmp_path / "a.onnx", {**DESCRIPTION, "raw": "{"}), images)


def test_classes_that_do_not_fit_the_network_are_refused(tmp_path, images):
    with pytest.raises(InputError, match="names 3 classes but its network gives 4 scores"):
        predict(write(tmp_path / "a.onnx", scores=4), images)


def test_a_missing_and_an_unreadable_image_are_named(tmp_path, images):
    path = write(tmp_path / "a.onnx")
    with pytest.raises(DataError, match=r"no image .*blak\.png; did you mean 'black\.png'\?"):
        predict(path, [tmp_path / "blak.png"])
    (tmp_path / "broken.png").write_bytes(images[0].read_bytes()[:40])
    with pytest.raises(DataError, match=r"broken\.png is not a readable image"):
        predict(path, [images[0], tmp_path / "broken.png"])


def test_a_missing_runtime_names_the_extra(tmp_path, images, monkeypatch):
    path = write(tmp_path / "a.onnx")
    for name in [name for name in sys.modules if name.partition(".")[0] == "onnxruntime"]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtraError, match=r"needs the package 'onnxruntime'.*sartor\[onnx\]"):
        predict(path, images)


def test_predicting_loads_no_torch(tmp_path, images):
    path = write(tmp_path / "a.onnx")
    code = (
        "import sys\n"
        "from sartor.export.predict import predict\n"
        f"assert predict({str(path)!r}, [{str(images[1])!r}])[0].labels[0][0] == 'light'\n"
        "assert 'torch' not in sys.modules and 'onnx' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
