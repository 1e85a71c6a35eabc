"""Ready-made search spaces, one a file: each module has a ``SPEC`` and a function that returns a ``Space``.

| name | what is searched | architectures |
|---|---|---|
| ``nasbench201`` | the operations of one cell | 15,625 (6,466 classes) |
| ``darts`` | a normal and a reduction cell of four nodes, eight operations | 9.1e18 |
| ``hierarchical`` | motifs of operations, and a cell of motifs | 1.2e38 |
| ``mbconv`` | kernel, expansion, depth, width, squeeze-excite of each stage | 2.7e8 (28x28), 1.2e11 (64x64) |
| ``resnet-like`` | block, kernel, depth and width of each stage | 4.2e6 (28x28), 4.5e8 (64x64) |
| ``once-for-all`` | resolution, depth of stages, kernel and expansion of blocks | 1.6e12 (28x28), 1.2e16 (64x64) |
| ``fabric`` | which neighbours each node of a trellis of scales by layers reads | 1.0e12 (28x28) |
| ``transformer`` | dimension, depth, heads and feed-forward of each layer of a vision Transformer | 209,664 |

Beside its space a module gives ``hand_designed(space)``, the architecture that a person would have taken.
Nothing here loads torch: the blocks are imported when a space is made.
"""
