"""Network morphism: a trained network made larger without changing what it computes (Wei et al. 2016,
arXiv:1603.01670; Chen et al. 2016, arXiv:1511.05641).

| function | what grows |
|---|---|
| `widen`, `add_heads` | features of a layer, or heads, with everything that holds the same features |
| `deepen` | layers behind a module, for activations that are idempotent and for others |
| `reshape_kernel` | places of a convolution's kernel |
| `add_skip`, `add_branch` | connections over and beside a module |
| `inherit` | a network that you built, given the function of a smaller one: all of these at once |
| `grow` | one architecture of a space, given the weights of another that it contains |

All are exact in eval mode: outputs are compared in float64, and a morphism that would differ by 1e-10 or more is
refused with the layer and the reason. None touches the network that it is given. `max_difference` compares any two
networks; `settle` writes batch normalisations anew on a batch, so that train mode starts near the function too.

What is known is read from a run on example inputs, not from class names, so modules of your own need nothing:
convolutions (grouped, depthwise, dilated), linear layers, embeddings, batch, layer and group normalisation, attention
by views and `scaled_dot_product_attention`, concatenations, splits, reshapes, element-wise operations. Recurrent layers
and `torch.nn.MultiheadAttention` can lie in a network, but not grow.
"""

from sartor.compress.morphism.branch import Branched, add_branch, add_skip
from sartor.compress.morphism.deepen import ParametrisedActivation, deepen
from sartor.compress.morphism.grow import grow
from sartor.compress.morphism.inherit import inherit, max_difference, settle
from sartor.compress.morphism.kernel import reshape_kernel
from sartor.compress.morphism.widen import add_heads, widen

__all__ = [
    "Branched",
    "ParametrisedActivation",
    "add_branch",
    "add_heads",
    "add_skip",
    "deepen",
    "grow",
    "inherit",
    "max_difference",
    "reshape_kernel",
    "settle",
    "widen",
]
