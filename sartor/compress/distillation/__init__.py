"""A network that learns from a larger one, one published term a file; training is ``sartor.training.fit``.

| module | the student learns | source |
|---|---|---|
| ``logits`` | the teacher's softened class probabilities | Hinton et al. 2015, arXiv:1503.02531 |
| ``hints`` | its feature maps, through a regressor | Romero et al. 2015 (FitNets), arXiv:1412.6550 |
| ``attention`` | where its feature maps are large | Zagoruyko & Komodakis 2017, arXiv:1612.03928 |
| ``relational`` | distances and angles between the rows of a batch | Park et al. 2019 (RKD), arXiv:1904.05068 |

``teacher`` makes a teacher of a module (``TorchTeacher``) or of a file that ONNX Runtime runs (``OnnxTeacher``);
``mapping.map_layers`` finds which layer of the student should learn from which of the teacher, across architectures;
``learner.Distilled`` adds terms to a task's own learner, all at once or stage by stage.
"""
