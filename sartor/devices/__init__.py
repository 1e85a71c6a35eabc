"""Cost models: what a network costs on a device, each figure with the error that it was validated to.

| device | figures | how |
|---|---|---|
| `counts` | params, macs, peak_memory_bytes, model_bytes | exact, by executing shapes; any device |
| `cpu` | latency_ms, energy_mj | measured on this machine's processor through ONNX Runtime |

``few_sample`` predicts latency on a device of which few networks were measured, from a pool of known devices; it needs
a table of their latencies, and is not a device of a search yet.

Listing them loads no torch. A device of your own is a class with ``name``, ``figures``, ``needs`` and ``cost``
(``sartor.contracts.Device``); run ``sartor.testing.devices.check_device`` on it.
"""
