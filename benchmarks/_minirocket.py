"""MiniRocket (aeon) on series that were interpolated, in an environment of its own.

Run by that environment's interpreter (`benchmarks/tasks_series.py --aeon PYTHON`), so this file imports nothing of
Sartor. The argument is an ``.npz`` with ``train``, ``test`` float32 ``(n, channels, points)``, ``train_label``,
``test_label`` and ``seed``; what it prints is the accuracy on the test part and the processor seconds.
"""

from __future__ import annotations

import sys
import time

import numpy as np


def main() -> None:
    from aeon.classification.convolution_based import MiniRocketClassifier

    with np.load(sys.argv[1]) as data:
        begin = time.process_time()
        model = MiniRocketClassifier(random_state=int(data["seed"]), n_jobs=1)
        model.fit(data["train"].astype(np.float32), data["train_label"])
        right = model.predict(data["test"].astype(np.float32)) == data["test_label"]
    print(float(right.mean()), time.process_time() - begin)


if __name__ == "__main__":
    main()
