"""Your own network, loss and metric on images.

    sartor search --task docs.own_network:Mine --trials 20 --limit params=50k

``MyNet`` is an ordinary module that knows nothing of Sartor. ``Mine`` is all that a search needs to know of it: which
of its arguments are undecided, the loss and one more metric. Data, augmentation, splits, export and report stay as
they are.
"""

from functools import partial

from torch import nn
from torch.nn import functional

from sartor import Metric, OneOf, Space
from sartor.tasks.images import Images
from sartor.metrics import confusion


class MyNet(nn.Module):
    """A plain convolutional network."""

    def __init__(self, channels, classes, width=16, depth=2, activation=nn.ReLU):
        super().__init__()
        layers = []
        for _ in range(depth):
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), activation()]
            channels = width
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(channels, classes)

    def forward(self, x):
        return self.head(self.features(x).mean((2, 3)))


def worst_recall(predictions):
    """Returns the recall of the class that is recognised least."""
    counts = confusion(predictions)
    return float((counts.diagonal() / counts.sum(1)).min())


class Mine(Images):
    metrics = {**Images.metrics, "worst_recall": Metric(worst_recall)}

    def space(self):
        net = partial(MyNet, self.form.channels, len(self.class_names), activation=OneOf(nn.ReLU, nn.SiLU))
        return Space(partial(net, width=OneOf(8, 16, 32), depth=OneOf(1, 2, 3)))

    def baseline(self):
        return self.space().architecture({"width": 16, "depth": 2, "activation": "ReLU"})

    def loss(self, network, batch, step):
        return functional.multi_margin_loss(self.logits(network, batch, step), batch["y"])
