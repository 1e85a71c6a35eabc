"""Networks as files to deploy: one format a module, and the reader that labels images with such a file.

- ``sartor.export.onnx.export_onnx`` writes ONNX and checks it against torch before it is kept.
- ``sartor.export.predict.predict`` labels images with an exported file; it needs no torch.
"""
