"""Networks as files to deploy: one format a module, each checked against torch before it is kept.

| format | precisions | run here by |
|---|---|---|
| ``onnx`` | fp32, fp16, int8, int8-weights, int4-weights | ONNX Runtime |
| ``openvino`` | fp32, fp16, int8, int8-weights, int4-weights | OpenVINO |
| ``executorch`` | fp32, int8 | ExecuTorch, XNNPACK |
| ``litert`` | fp32, int8, int8-weights, int4-weights | LiteRT, XNNPACK |
| ``coreml`` | fp32, fp16, int8-weights, int4-weights, palette6, palette4 | Core ML, on a Mac only |

    from sartor.registry import find

    exporter = find("exporters", "openvino").load()
    report = exporter.export(module, inputs, "net.xml", precision="int8", calibration=inputs_of_the_training_part)

A format of your own is a module with a ``SPEC`` and an `Exporter` (entry points: group ``sartor.exporters``); run
``sartor.testing.check_exporter`` on it.

- ``sartor.export.predict.predict`` predicts with an exported ONNX file, read as its task says; needs no torch.
- ``sartor.export.ane.check`` says what keeps a Core ML program from the Apple Neural Engine.
"""

from sartor.export._exporter import PRECISIONS, Exporter, ExportReport, Loaded, Precision

__all__ = ["PRECISIONS", "ExportReport", "Exporter", "Loaded", "Precision"]
