"""Labelled images: one class an image.

    task = sartor.load_task("images", "photos/")        # sartor search images --data photos/
    front = sartor.search(task, limits=["latency=1ms"], budget="10m")

**Data.** ``source`` is one of

- a folder with a folder of images for each class (PNG, JPEG, BMP, GIF, TIFF, WebP, PNM; grey, RGB, RGBA, palette,
  16 bits; any sizes); ``train``, ``val`` and ``test`` folders above the class folders are honoured as parts;
- IDX files (the MNIST family, ``.gz`` too): the folder that holds ``train-images-idx3-ubyte`` and its labels, whose
  ``t10k`` or ``test`` part is honoured, or one file of images beside its labels;
- an ``.npz`` of images and labels: ``x``/``y``, ``images``/``labels``, ``data``/``target``, alone or for parts
  (``x_train``/``y_train``/``x_test``/``y_test``, ``train_images``/``train_labels`` ...), images as ``(n, h, w)``,
  ``(n, h, w, c)`` or ``(n, c, h, w)``, class names in ``classes``;
- a CSV or Parquet manifest of ``path,label`` and perhaps ``split``, paths relative to the manifest;
- ``digits`` (also when left out): 1,797 grey 8x8 digits of 10 classes that scikit-learn bundles (Alpaydin and Kaynak
  1998, UCI "Optical Recognition of Handwritten Digits", CC BY 4.0);
- ``fashion-mnist``: 60,000 + 10,000 grey 28x28 articles of 10 classes (Xiao et al. 2017, arXiv:1708.07747, MIT), read
  from Debian's package dataset-fashion-mnist (``apt-get install dataset-fashion-mnist``) or from a folder
  ``fashion-mnist`` in a folder named by the environment variable ``SARTOR_DATA``.

**Preparation**, the same for training and for an exported network (``preprocess``): turned as EXIF says, transparency
over white, 16 bits scaled by the largest power of two that the data use, one channel when every image is grey, scaled
by antialiased bilinear interpolation to one size (all images' own when they agree, else the median of the longer
sides as a square; at most 64 pixels a side) with the aspect kept and black around it (``fit=pad``). Pixels are kept as
bytes; the network takes float32 0..1, shape ``(n, channels, height, width)``, and standardises inside.

**Parts.** Given ones are honoured; missing ones are drawn from the training part, stratified by class and seeded
(``split_seed``). Exact copies of an image are kept in one part: where given parts share some, test keeps them before
validation before training, and the count is a note. Images that cannot be read are left out and counted, up to one in
ten; more are an error, and so is a class with too few different images for each part (``leave_out_rare`` leaves such
classes out instead, and counts them).

**Space.** ``space`` names a ready-made one (``sartor.spaces``), fitted to the images: ``mbconv`` unless another is
given. Cells (``nasbench201``, ``darts``, ``hierarchical``) see full resolution and so are few and narrow here; a
``transformer`` needs more images or epochs than convolutions do; ``once-for-all`` chooses the resolution too;
a ``fabric`` holds chains of all resolutions at once.

**Metrics** on a part: ``accuracy`` (primary, more is better, 0..1), ``balanced_accuracy`` (mean recall of classes, more
is better), ``cross_entropy`` (nats, less is better), ``calibration_error`` (expected, 15 bins, Guo et al. 2017,
arXiv:1706.04599, less is better).

**Reference figures** (test accuracy). Fashion-MNIST, from the data set's own list of submitted results, untested by
its authors: 0.925 for two convolutions of fewer than 100k parameters, 0.932 for 1.8M, 0.954 for a DenseNet of 768k with
flips and crops, 0.967 for a wide ResNet of 8.9M; people 0.835. Digits, on this task's parts: 0.981 for the nearest
neighbour of the pixels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sartor.registry import TaskSpec

if TYPE_CHECKING:
    from sartor.tasks.images.task import Images

__all__ = ["SPEC", "Images"]

SPEC = TaskSpec(
    "images",
    "sartor.tasks.images.task:Images",
    summary="label images: folders of PNG/JPEG, IDX, NPZ or a manifest of paths",
    extra="images",
    citation="digits: Alpaydin and Kaynak 1998; fashion-mnist: Xiao et al. 2017, arXiv:1708.07747",
    options="sartor.tasks.images.options:Options",
    sources=("digits", "fashion-mnist"),
    reader="sartor.tasks.images.preprocess:read",
)


def __getattr__(name: str) -> Any:
    # The task needs torch, listing tasks must not load it.
    if name != "Images":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from sartor.tasks.images.task import Images

    return Images
