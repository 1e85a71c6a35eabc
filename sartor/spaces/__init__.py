"""Ready-made search spaces, one a file: each module has a ``SPEC`` and a function that returns a ``Space``.

| name | what is searched | architectures |
|---|---|---|
| ``nasbench201`` | the operations of one cell | 15,625 (6,466 classes) |
| ``mbconv`` | kernel, expansion, depth, width, squeeze-excite of each stage | 2.7e8 (28x28), 1.2e11 (64x64) |
| ``resnet-like`` | block, kernel, depth and width of each stage | 4.2e6 (28x28), 4.5e8 (64x64) |

Beside its space a module gives ``hand_designed(space)``, the architecture that a person would have taken.
Nothing here loads torch: the blocks are imported when a space is made.
"""
