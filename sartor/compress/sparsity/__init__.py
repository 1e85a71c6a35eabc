"""Zeros among the weights, one published method a file; the network keeps its shape.

| module | method | source |
|---|---|---|
| ``magnitude`` | the smallest weights, of all layers together or of each | Han et al. 2015, arXiv:1506.02626 |
| ``lamp`` | the same, each over what is no smaller in its layer | Lee et al. 2021, arXiv:2010.07611 |
| ``taylor`` | the least first-order change of the loss | Molchanov et al. 2019, arXiv:1906.10771 |
| ``obd`` | the least second-order change, by the diagonal of the Hessian | LeCun et al. 1990 |
| ``obs`` | the same with what the other weights make up for | Hassibi & Stork 1993; Kurtic et al. 2022 |
| ``l1`` | training under a penalty that draws weights to zero | Tibshirani 1996; Han et al. 2015 |
| ``iterative`` | little by little, training between, with rewinding | Frankle & Carbin 2019, arXiv:1803.03635 |
| ``gradual`` | while training, along a cubic schedule | Zhu & Gupta 2017, arXiv:1710.01878 |
| ``sparsegpt`` | each layer at once, from calibration inputs | Frantar & Alistarh 2023, arXiv:2301.00774 |
| ``n_of_m`` | two of every four weights stay | Mishra et al. 2021, arXiv:2104.08378 |

What scores weights (``magnitude``, ``lamp``, ``taylor``, ``obd``) gives scores; ``masks.global_masks`` and
``masks.local_masks`` turn them into masks, ``masks.pruned`` puts these into a copy, and ``held.Held`` keeps the zeros
while ``sartor.training.fit`` trains. ``storage`` keeps zeros out of files, ``speed`` measures what they save in time:
on most machines nothing until nine of ten weights are zero.
"""
