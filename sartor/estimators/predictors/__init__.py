"""Values of architectures, predicted from a few trained ones: one `sartor.contracts.Predictor` a file.

Each is made as ``Class(space, seed=0, features=..., ...)`` and found by ``sartor.registry.find("predictors", name)``.
``features`` are training-free scores, columns of the architectures. Values are learnt on a scale that failures do not
rule (``warp``). ``calibration.report`` says how good one is; `Predicted` puts one in place of training.
"""

from sartor.estimators.predictors._estimator import Predicted

__all__ = ["Predicted"]
