"""Fewer bits, one published method a file.

| module | what | source |
|---|---|---|
| ``static`` | int8 weights and activations after training, for ONNX Runtime | Jacob et al. 2018, arXiv:1712.05877 |
| ``weight_only`` | weights on a grid of 2 to 8 bits, steps of least error | Nahshan et al. 2021, arXiv:1911.07190 |
| ``aware`` | training under fake quantisation, straight-through gradients | Jacob et al. 2018 |
| ``lsq`` | steps that are learned with the weights | Esser et al. 2020, arXiv:1902.08153 |
| ``mixed`` | bits by sensitivity, under a budget of bytes or MAC-bits | Dong et al. 2019, arXiv:1905.03696 |

``uniform`` is the grid that they share. A network whose weights lie on a grid is a network of floats all the same:
fewer bytes in a file, and the same time, until a runtime with integer kernels runs it (``static``).
"""
