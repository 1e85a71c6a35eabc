"""Building blocks of networks, one family a file.

The chain idiom: a block takes ``in_channels`` first and has ``out_channels``, so a partial that lacks
``in_channels`` is a factory, and shapes flow without being written twice:

    Chain(3, blocks=[
        partial(ConvBnAct, out_channels=16, stride=2),
        partial(MBConv, out_channels=24, kernel=5, expand=3, squeeze_excite=True),
    ], head=partial(ClassifierHead, classes=10))

A module handed over built, or one without ``out_channels``, keeps the number of channels (``partial(nn.Identity)``).
``torch.nn``'s own convolutions follow the idiom too: ``partial(nn.Conv2d, out_channels=8, kernel_size=3)``.

Everything works on images from 8x8 pixels up, with any number of channels, and exports to ONNX: padding is explicit
and half the kernel, pooling is by ``mean`` and never by output size.

| family | file | blocks |
|---|---|---|
| convolution | conv | ``ConvBnAct``, ``DepthwiseSeparable``, ``MBConv``, ``ReluConvBn``, ``SepConv``, ``DilConv``, \
``FactorizedReduce``, ``conv_bn_relu``, ``depthwise_bn_relu``, ``separable_bn_relu`` |
| attention over channels | attention | ``SqueezeExcite`` |
| attention between tokens | transformer | ``MultiHeadAttention``, ``FeedForward``, ``TransformerBlock``, \
``PatchEmbedding``, ``VisionTransformer`` |
| attention within windows | local_attention | ``sliding_window_attention``, ``WindowAttention`` |
| attention of linear cost | linear_attention | ``performer_attention``, ``linformer_attention``, ``FourierMixing`` |
| normalisation | normalisation | ``Standardise``, ``batch_norm``, ``group_norm``, ``ChannelRMSNorm`` |
| pooling | pooling | ``AvgPool``, ``MaxPool``, ``Zero``, ``GlobalAvgPool``, ``AdaptiveAvgPool`` |
| residual | residual | ``BasicBlock``, ``Bottleneck``, ``PoolShortcut`` |
| highway | highway | ``Highway``, ``highway_linear``, ``highway_conv`` |
| dense connections | dense_connections | ``DenseLayer``, ``DenseBlock``, ``DenseTransition`` |
| more places a side | upsampling | ``TransposedConv``, ``PixelShuffle``, ``ResizeConv`` |
| cells, operations on edges | cell | ``Cell``, ``CellNet`` |
| cells, operations on vertices | matrix_cell | ``MatrixCell``, ``MatrixCellNet`` |
| fabrics | fabric | ``Fabric``, ``FabricNode``, ``FabricConv`` |
| cells of two inputs | darts_cell | ``DartsCell``, ``DartsNet``, ``skip_connect`` |
| continuous-time circuits | wiring, closed_form, liquid | ``Wiring``, ``circuit_wiring``, ``random_wiring``, \
``ClosedFormCircuit``, ``LiquidCircuit`` |
| sums of small networks | additive, piecewise | ``NeuralAdditive``, ``ShapeNetworks``, ``GroupedLinear``, \
``GroupedExU``, ``PiecewiseLinear`` |
| composition | chain | ``Chain``, ``Stage``, ``ClassifierHead``, ``attach`` |
"""

from sartor.nets.additive import GroupedExU, GroupedLinear, NeuralAdditive, ShapeNetworks
from sartor.nets.attention import SqueezeExcite
from sartor.nets.cell import Cell, CellNet
from sartor.nets.chain import Chain, ClassifierHead, Stage, attach
from sartor.nets.closed_form import ClosedFormCircuit
from sartor.nets.conv import (
    ConvBnAct,
    DepthwiseSeparable,
    DilConv,
    FactorizedReduce,
    MBConv,
    ReluConvBn,
    SepConv,
    conv_bn_relu,
    depthwise_bn_relu,
    separable_bn_relu,
)
from sartor.nets.darts_cell import DartsCell, DartsNet, skip_connect
from sartor.nets.dense_connections import DenseBlock, DenseLayer, DenseTransition
from sartor.nets.fabric import Fabric, FabricConv, FabricNode
from sartor.nets.highway import Highway, highway_conv, highway_linear
from sartor.nets.linear_attention import FourierMixing, linformer_attention, performer_attention
from sartor.nets.liquid import LiquidCircuit
from sartor.nets.local_attention import WindowAttention, sliding_window_attention
from sartor.nets.matrix_cell import MatrixCell, MatrixCellNet
from sartor.nets.normalisation import ChannelRMSNorm, Standardise, batch_norm, group_norm
from sartor.nets.piecewise import PiecewiseLinear
from sartor.nets.pooling import AdaptiveAvgPool, AvgPool, GlobalAvgPool, MaxPool, Zero
from sartor.nets.residual import BasicBlock, Bottleneck, PoolShortcut
from sartor.nets.transformer import (
    FeedForward,
    MultiHeadAttention,
    PatchEmbedding,
    TransformerBlock,
    VisionTransformer,
)
from sartor.nets.upsampling import PixelShuffle, ResizeConv, TransposedConv
from sartor.nets.wiring import Wiring, circuit_wiring, random_wiring

__all__ = [
    "AdaptiveAvgPool",
    "AvgPool",
    "BasicBlock",
    "Bottleneck",
    "Cell",
    "CellNet",
    "Chain",
    "ChannelRMSNorm",
    "ClassifierHead",
    "ClosedFormCircuit",
    "ConvBnAct",
    "DartsCell",
    "DartsNet",
    "DenseBlock",
    "DenseLayer",
    "DenseTransition",
    "DepthwiseSeparable",
    "DilConv",
    "Fabric",
    "FabricConv",
    "FabricNode",
    "FactorizedReduce",
    "FeedForward",
    "FourierMixing",
    "GlobalAvgPool",
    "Highway",
    "GroupedExU",
    "GroupedLinear",
    "LiquidCircuit",
    "MBConv",
    "MatrixCell",
    "MatrixCellNet",
    "MaxPool",
    "MultiHeadAttention",
    "NeuralAdditive",
    "PatchEmbedding",
    "PixelShuffle",
    "PiecewiseLinear",
    "PoolShortcut",
    "ReluConvBn",
    "ResizeConv",
    "SepConv",
    "ShapeNetworks",
    "SqueezeExcite",
    "Stage",
    "Standardise",
    "TransformerBlock",
    "TransposedConv",
    "VisionTransformer",
    "WindowAttention",
    "Wiring",
    "Zero",
    "attach",
    "batch_norm",
    "circuit_wiring",
    "conv_bn_relu",
    "depthwise_bn_relu",
    "group_norm",
    "highway_conv",
    "highway_linear",
    "linformer_attention",
    "performer_attention",
    "random_wiring",
    "separable_bn_relu",
    "skip_connect",
    "sliding_window_attention",
]
