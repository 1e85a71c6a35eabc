"""Networks as files to deploy: one format a module, and what predicts with such a file.

- ``sartor.export.onnx.export_onnx`` writes ONNX and checks it against torch before it is kept.
- ``sartor.export.predict.predict`` predicts with an exported file, whose task says how examples are read; no torch.
"""
