"""Twenty-five architectures, small, written with torch alone: what a structured pruner must be able to take apart."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

IMAGE = (1, 3, 32, 32)
SEQUENCE = (1, 12, 16)


def conv_bn(cin: int, cout: int, kernel: int = 3, stride: int = 1, groups: int = 1, act: bool = True) -> nn.Sequential:
    layers: list[nn.Module] = [
        nn.Conv2d(cin, cout, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(cout),
    ]
    return nn.Sequential(*layers, *([nn.ReLU()] if act else []))


def head(channels: int, classes: int = 10) -> nn.Sequential:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))


def plain() -> nn.Module:
    """VGG (Simonyan & Zisserman 2015): a flattened map, so that one channel is many features."""
    return nn.Sequential(
        conv_bn(3, 16),
        conv_bn(16, 16),
        nn.MaxPool2d(2),
        conv_bn(16, 32),
        conv_bn(32, 32),
        nn.MaxPool2d(4),
        nn.Flatten(),
        nn.Linear(32 * 16, 64),
        nn.ReLU(),
        nn.Dropout(),
        nn.Linear(64, 10),
    )


class Residual(nn.Module):
    def __init__(self, body: nn.Module, shortcut: nn.Module | None = None, act: bool = True) -> None:
        super().__init__()
        self.body, self.shortcut, self.act = body, shortcut or nn.Identity(), act

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.body(x) + self.shortcut(x)
        return torch.relu(y) if self.act else y


def basic(cin: int, cout: int, stride: int = 1) -> nn.Module:
    short = conv_bn(cin, cout, 1, stride, act=False) if stride > 1 or cin != cout else None
    return Residual(nn.Sequential(conv_bn(cin, cout, 3, stride), conv_bn(cout, cout, act=False)), short)


def resnet_basic() -> nn.Module:
    return nn.Sequential(conv_bn(3, 16), basic(16, 16), basic(16, 32, 2), basic(32, 32), basic(32, 64, 2), head(64))


def bottleneck(cin: int, inside: int, cout: int, stride: int = 1, groups: int = 1) -> nn.Module:
    short = conv_bn(cin, cout, 1, stride, act=False) if stride > 1 or cin != cout else None
    body = nn.Sequential(
        conv_bn(cin, inside, 1), conv_bn(inside, inside, 3, stride, groups), conv_bn(inside, cout, 1, act=False)
    )
    return Residual(body, short)


def resnet_bottleneck() -> nn.Module:
    return nn.Sequential(
        conv_bn(3, 16), bottleneck(16, 16, 64), bottleneck(64, 16, 64), bottleneck(64, 32, 128, 2), head(128)
    )


def resnext() -> nn.Module:
    """Xie et al. 2017: grouped convolutions of 8 groups of 4 channels."""
    return nn.Sequential(conv_bn(3, 16), bottleneck(16, 32, 64, 1, 8), bottleneck(64, 32, 64, 2, 8), head(64))


class PreActivation(nn.Module):
    """He et al. 2016b: normalisation and activation before the convolution."""

    def __init__(self, cin: int, cout: int, stride: int = 1) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.BatchNorm2d(cin), nn.BatchNorm2d(cout)
        self.conv1 = nn.Conv2d(cin, cout, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(cout, cout, 3, 1, 1, bias=False)
        self.short = nn.Conv2d(cin, cout, 1, stride, bias=False) if stride > 1 or cin != cout else None

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.norm1(x))
        short = x if self.short is None else self.short(y)
        out: Tensor = self.conv2(functional.relu(self.norm2(self.conv1(y)))) + short
        return out


def preactivation() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, 1, 1, bias=False),
        PreActivation(16, 16),
        PreActivation(16, 32, 2),
        PreActivation(32, 32),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        head(32),
    )


class DenseLayer(nn.Module):
    def __init__(self, cin: int, growth: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.BatchNorm2d(cin),
            nn.ReLU(),
            nn.Conv2d(cin, 4 * growth, 1, bias=False),
            nn.BatchNorm2d(4 * growth),
            nn.ReLU(),
            nn.Conv2d(4 * growth, growth, 3, 1, 1, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.body(x)], 1)


def densenet() -> nn.Module:
    """Huang et al. 2017."""
    layers: list[nn.Module] = [nn.Conv2d(3, 16, 3, 1, 1)]
    width = 16
    for _ in range(2):
        for _ in range(3):
            layers.append(DenseLayer(width, 8))
            width += 8
        layers += [nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, width // 2, 1), nn.AvgPool2d(2)]
        width //= 2
    return nn.Sequential(*layers, head(width))


class Branches(nn.Module):
    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.branches], 1)


def inception_block(cin: int, width: int) -> nn.Module:
    return Branches(
        conv_bn(cin, width, 1),
        nn.Sequential(conv_bn(cin, width, 1), conv_bn(width, width, 3)),
        nn.Sequential(conv_bn(cin, width // 2, 1), conv_bn(width // 2, width, 5)),
        nn.Sequential(nn.MaxPool2d(3, 1, 1), conv_bn(cin, width, 1)),
    )


class GoogLeNet(nn.Module):
    """Szegedy et al. 2015: with a second classifier on the way, of which the sum is taken."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_bn(3, 16)
        self.first, self.second = inception_block(16, 8), inception_block(32, 12)
        self.aside, self.last = head(32), head(48)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(self.stem(x))
        out: Tensor = self.last(self.second(functional.max_pool2d(x, 2))) + 0.3 * self.aside(x)
        return out


def inception() -> nn.Module:
    """Factorised, Szegedy et al. 2016: 1x3 and 3x1 side by side, and a reduction by concatenation with pooling."""

    def factorised(cin: int, width: int) -> nn.Module:
        return Branches(
            conv_bn(cin, width, 1),
            nn.Sequential(
                nn.Conv2d(cin, width, 1),
                Branches(
                    nn.Conv2d(width, width, (1, 3), padding=(0, 1)), nn.Conv2d(width, width, (3, 1), padding=(1, 0))
                ),
            ),
            nn.Sequential(nn.AvgPool2d(3, 1, 1), conv_bn(cin, width, 1)),
        )

    reduce = Branches(conv_bn(32, 16, 3, 2), nn.MaxPool2d(3, 2, 1))
    return nn.Sequential(conv_bn(3, 16), factorised(16, 8), reduce, factorised(48, 12), head(48))


class Fire(nn.Module):
    def __init__(self, cin: int, squeeze: int, expand: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(cin, squeeze, 1)
        self.left, self.right = nn.Conv2d(squeeze, expand, 1), nn.Conv2d(squeeze, expand, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.squeeze(x))
        return torch.cat([torch.relu(self.left(x)), torch.relu(self.right(x))], 1)


def squeezenet() -> nn.Module:
    """Iandola et al. 2016: no linear layer, the classes are channels."""
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, 2, 1),
        nn.ReLU(),
        Fire(16, 8, 16),
        Fire(32, 8, 16),
        nn.MaxPool2d(2),
        Fire(32, 12, 24),
        nn.Conv2d(48, 10, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )


def mobilenet_v1() -> nn.Module:
    layers: list[nn.Module] = [conv_bn(3, 16)]
    for cin, cout, stride in ((16, 32, 1), (32, 48, 2), (48, 64, 2)):
        layers += [conv_bn(cin, cin, 3, stride, cin), conv_bn(cin, cout, 1)]
    return nn.Sequential(*layers, head(64))


class SqueezeExcitation(nn.Module):
    def __init__(self, channels: int, inside: int) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(channels, inside, 1), nn.Conv2d(inside, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.up(torch.relu(self.down(x.mean((2, 3), keepdim=True)))))


def inverted(cin: int, cout: int, expand: int, stride: int, act: type[nn.Module], se: bool) -> nn.Module:
    inside = cin * expand
    body = nn.Sequential(
        nn.Conv2d(cin, inside, 1, bias=False),
        nn.BatchNorm2d(inside),
        act(),
        nn.Conv2d(inside, inside, 3, stride, 1, groups=inside, bias=False),
        nn.BatchNorm2d(inside),
        act(),
        *([SqueezeExcitation(inside, max(4, inside // 8))] if se else []),
        nn.Conv2d(inside, cout, 1, bias=False),
        nn.BatchNorm2d(cout),
    )
    return Residual(body, act=False) if stride == 1 and cin == cout else body


def mobilenet(act: type[nn.Module], se: bool) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, 1, 1, bias=False),
        nn.BatchNorm2d(16),
        act(),
        inverted(16, 16, 4, 1, act, se),
        inverted(16, 24, 4, 2, act, se),
        inverted(24, 24, 4, 1, act, se),
        nn.Conv2d(24, 64, 1),
        act(),
        head(64),
    )


def shuffle(x: Tensor, groups: int) -> Tensor:
    n, c, h, w = x.shape
    return x.view(n, groups, c // groups, h, w).transpose(1, 2).reshape(n, c, h, w)


class ShuffleV2(nn.Module):
    """Ma et al. 2018: half of the channels pass, the other half is worked on, then both are shuffled."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.body = nn.Sequential(
            conv_bn(half, half, 1), conv_bn(half, half, 3, 1, half, act=False), conv_bn(half, half, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        left, right = x.chunk(2, 1)
        return shuffle(torch.cat([left, self.body(right)], 1), 2)


def shufflenet() -> nn.Module:
    return nn.Sequential(conv_bn(3, 24), ShuffleV2(24), ShuffleV2(24), conv_bn(24, 48, 1, 2), ShuffleV2(48), head(48))


def regnet() -> nn.Module:
    """Radosavovic et al. 2020 (Y): groups of a fixed width, squeeze and excitation."""

    def block(cin: int, cout: int, stride: int) -> nn.Module:
        body = nn.Sequential(
            conv_bn(cin, cout, 1),
            conv_bn(cout, cout, 3, stride, cout // 8),
            SqueezeExcitation(cout, max(4, cin // 4)),
            conv_bn(cout, cout, 1, act=False),
        )
        short = conv_bn(cin, cout, 1, stride, act=False) if stride > 1 or cin != cout else None
        return Residual(body, short)

    return nn.Sequential(conv_bn(3, 16), block(16, 24, 1), block(24, 24, 1), block(24, 48, 2), head(48))


class ChannelsLastNorm(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return out


class ConvNeXtBlock(nn.Module):
    """Liu et al. 2022: linear layers on channels that come last, scaled by a parameter."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(dim, dim, 7, padding=3, groups=dim)
        self.norm = nn.LayerNorm(dim)
        self.up, self.down = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)
        self.gamma = nn.Parameter(torch.full((dim,), 0.5))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        y = self.gamma * self.down(functional.gelu(self.up(y)))
        return x + y.permute(0, 3, 1, 2)


def convnext() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 16, 4, 4),
        ChannelsLastNorm(16),
        ConvNeXtBlock(16),
        ConvNeXtBlock(16),
        ChannelsLastNorm(16),
        nn.Conv2d(16, 32, 2, 2),
        ConvNeXtBlock(32),
        head(32),
    )


class UNet(nn.Module):
    """Ronneberger et al. 2015: transposed convolutions, and skips by concatenation."""

    def __init__(self) -> None:
        super().__init__()
        self.down1, self.down2, self.down3 = conv_bn(3, 16), conv_bn(16, 32), conv_bn(32, 48)
        self.up2, self.up1 = nn.ConvTranspose2d(48, 32, 2, 2), nn.ConvTranspose2d(32, 16, 2, 2)
        self.join2, self.join1, self.out = conv_bn(64, 32), conv_bn(32, 16), nn.Conv2d(16, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        first = self.down1(x)
        second = self.down2(functional.max_pool2d(first, 2))
        third = self.down3(functional.max_pool2d(second, 2))
        y = self.join2(torch.cat([self.up2(third), second], 1))
        out: Tensor = self.out(self.join1(torch.cat([self.up1(y), first], 1)))
        return out


class FPN(nn.Module):
    """Lin et al. 2017: features of several sizes are added from the top down."""

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleList([conv_bn(3, 16, 3, 2), conv_bn(16, 32, 3, 2), conv_bn(32, 48, 3, 2)])
        self.laterals = nn.ModuleList([nn.Conv2d(width, 24, 1) for width in (16, 32, 48)])
        self.outs = nn.ModuleList([nn.Conv2d(24, 5, 3, padding=1) for _ in range(3)])

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = []
        for stage, lateral in zip(self.stages, self.laterals, strict=True):
            x = stage(x)
            maps.append(lateral(x))
        for level in (1, 0):
            maps[level] = maps[level] + functional.interpolate(maps[level + 1], scale_factor=2.0, mode="nearest")
        return [out(level) for out, level in zip(self.outs, maps, strict=True)]


class PackedAttention(nn.Module):
    """Queries, keys and values out of one linear layer, as in timm's ViT."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.num_heads, self.scale = heads, (dim // heads) ** -0.5
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.head_dim = dim // heads

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        n, tokens, _ = x.shape
        q, k, v = self.qkv(x).reshape(n, tokens, 3, self.num_heads, self.head_dim).permute(2, 0, 3, 1, 4).unbind(0)
        scores = (q @ k.transpose(-2, -1)) * self.scale
        scores = scores if bias is None else scores + bias
        out: Tensor = self.proj((scores.softmax(-1) @ v).transpose(1, 2).reshape(n, tokens, -1))
        return out


class ViTBlock(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attention = PackedAttention(dim, heads)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class ViT(nn.Module):
    """Dosovitskiy et al. 2021: a class token, learned positions."""

    def __init__(self, dim: int = 24, heads: int = 3) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, dim, 8, 8)
        self.token, self.position = nn.Parameter(torch.randn(1, 1, dim)), nn.Parameter(torch.randn(1, 17, dim))
        self.blocks = nn.Sequential(ViTBlock(dim, heads), ViTBlock(dim, heads))
        self.norm, self.head = nn.LayerNorm(dim), nn.Linear(dim, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.position
        out: Tensor = self.head(self.norm(self.blocks(x))[:, 0])
        return out


class SwinBlock(nn.Module):
    """Liu et al. 2021: attention in shifted windows, with a table of relative positions for each head."""

    index: Tensor

    def __init__(self, dim: int, heads: int, window: int, shift: int) -> None:
        super().__init__()
        self.dim, self.window, self.shift = dim, window, shift
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attention = PackedAttention(dim, heads)
        self.table = nn.Parameter(torch.randn((2 * window - 1) ** 2, heads))
        at = torch.stack(torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")).flatten(1)
        relative = at[:, :, None] - at[:, None, :] + window - 1
        self.register_buffer("index", relative[0] * (2 * window - 1) + relative[1])
        self.mlp = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        n, height, width, channels = x.shape
        w = self.window
        y = torch.roll(self.norm1(x), (-self.shift, -self.shift), (1, 2))
        y = y.view(n, height // w, w, width // w, w, channels).permute(0, 1, 3, 2, 4, 5).reshape(-1, w * w, channels)
        bias = self.table[self.index.view(-1)].view(w * w, w * w, -1).permute(2, 0, 1)
        y = self.attention(y, bias.unsqueeze(0))
        y = y.view(n, height // w, width // w, w, w, channels).permute(0, 1, 3, 2, 4, 5).reshape(n, height, width, -1)
        x = x + torch.roll(y, (self.shift, self.shift), (1, 2))
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class Swin(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, 16, 4, 4)
        self.first = nn.Sequential(SwinBlock(16, 2, 4, 0), SwinBlock(16, 2, 4, 2))
        self.norm, self.reduce = nn.LayerNorm(64), nn.Linear(64, 32, bias=False)
        self.second = SwinBlock(32, 4, 4, 0)
        self.last, self.head = nn.LayerNorm(32), nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(self.embed(x).permute(0, 2, 3, 1))
        merged = torch.cat([x[:, i::2, j::2] for j in (0, 1) for i in (0, 1)], -1)
        x = self.second(self.reduce(self.norm(merged)))
        out: Tensor = self.head(self.last(x).mean((1, 2)))
        return out


class MixerBlock(nn.Module):
    """Tolstikhin et al. 2021: linear layers over tokens, then over channels."""

    def __init__(self, tokens: int, dim: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.tokens = nn.Sequential(nn.Linear(tokens, 32), nn.GELU(), nn.Linear(32, tokens))
        self.channels = nn.Sequential(nn.Linear(dim, 64), nn.GELU(), nn.Linear(64, dim))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.tokens(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        out: Tensor = x + self.channels(self.norm2(x))
        return out


class Mixer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, 24, 8, 8)
        self.blocks = nn.Sequential(MixerBlock(16, 24), MixerBlock(16, 24))
        self.norm, self.head = nn.LayerNorm(24), nn.Linear(24, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(self.embed(x).flatten(2).transpose(1, 2))
        out: Tensor = self.head(self.norm(x).mean(1))
        return out


class LSTMClassifier(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(16, 24)
        self.lstm = nn.LSTM(24, 32, num_layers=2, batch_first=True, bidirectional=True)
        self.head = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.lstm(torch.relu(self.embed(x)))[0].mean(1))
        return out


class Encoder(nn.Module):
    """torch's own Transformer encoder."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(16, 24)
        layer = nn.TransformerEncoderLayer(24, 4, 64, batch_first=True, norm_first=True, dropout=0.0)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(24, 10)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.encoder(self.embed(x)).mean(1))
        return out


class GatedBlock(nn.Module):
    """Shazeer 2020: a packed gate, cut in halves, in a residual branch behind RMS normalisation."""

    def __init__(self, dim: int, inside: int) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(dim)
        self.pack, self.out = nn.Linear(dim, 2 * inside), nn.Linear(inside, dim)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.pack(self.norm(x)).chunk(2, -1)
        out: Tensor = x + self.out(value * functional.silu(gate))
        return out


def gated() -> nn.Module:
    return nn.Sequential(
        nn.Linear(16, 24), GatedBlock(24, 48), nn.Linear(24, 48), nn.GLU(), nn.Flatten(), nn.Linear(12 * 24, 10)
    )


def darts_cells() -> nn.Module:
    """A random network of cells from a ready-made space of Sartor: two inputs a node, concatenation, separable."""
    from sartor.spaces.darts import darts

    space = darts(3, 10, 32)
    network: nn.Module = space.build(space.sample(np.random.default_rng(0)))
    return network


ARCHITECTURES: Mapping[str, tuple[Callable[[], nn.Module], Sequence[int]]] = {
    "plain CNN": (plain, IMAGE),
    "ResNet, basic": (resnet_basic, IMAGE),
    "ResNet, bottleneck": (resnet_bottleneck, IMAGE),
    "ResNet, pre-activation": (preactivation, IMAGE),
    "ResNeXt": (resnext, IMAGE),
    "DenseNet": (densenet, IMAGE),
    "GoogLeNet": (GoogLeNet, IMAGE),
    "Inception": (inception, IMAGE),
    "SqueezeNet": (squeezenet, IMAGE),
    "MobileNetV1": (mobilenet_v1, IMAGE),
    "MobileNetV2": (partial(mobilenet, nn.ReLU6, False), IMAGE),
    "MobileNetV3": (partial(mobilenet, nn.Hardswish, True), IMAGE),
    "ShuffleNetV2": (shufflenet, IMAGE),
    "EfficientNet": (partial(mobilenet, nn.SiLU, True), IMAGE),
    "RegNet": (regnet, IMAGE),
    "ConvNeXt": (convnext, IMAGE),
    "U-Net": (UNet, IMAGE),
    "FPN": (FPN, IMAGE),
    "ViT, packed": (ViT, IMAGE),
    "Swin": (Swin, IMAGE),
    "MLP-Mixer": (Mixer, IMAGE),
    "LSTM": (LSTMClassifier, SEQUENCE),
    "Transformer encoder": (Encoder, SEQUENCE),
    "gated units": (gated, SEQUENCE),
    "DARTS (a space of Sartor)": (darts_cells, IMAGE),
}
"""Name -> (maker, shape of an input)."""
