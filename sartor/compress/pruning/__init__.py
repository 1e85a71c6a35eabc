"""Structured pruning: channels, heads, units of feed-forward layers or whole layers: a plain smaller network.

| module | what goes first | source |
|---|---|---|
| ``taylor`` | what changes the loss least, to first order | Molchanov et al. 2019, arXiv:1906.10771 |
| ``fisher`` | the same to second order, from single rows | Theis et al. 2018; Liu et al. 2021, arXiv:2108.00708 |
| ``magnitude`` | small weights (L1, L2) | Li et al. 2017, arXiv:1608.08710; He et al. 2018, arXiv:1808.06866 |
| ``batch_norm_scale`` | what normalisations scale to little | Liu et al. 2017, arXiv:1708.06519 |
| ``geometric_median`` | filters that others can stand in for | He et al. 2019, arXiv:1811.00250 |
| ``layers`` | layers that change little of what passes | Men et al. 2024, arXiv:2403.03853 |
| ``eagle_eye`` | of several ways to a target, the one of least loss | Li et al. 2020, arXiv:2007.02491 |

``structure.analyse`` runs a network once and follows every channel through residuals, concatenations, groups, views and
attention: what can only go together is a unit. ``choice.choose`` takes units by scores until a cost is reached, and
``Structure.without`` cuts them out and checks the result against the whole network with these channels at zero:

    structure = analyse(network, inputs)
    choice = choose(structure, l2(structure), structure.macs, 0.5 * structure.macs(), round_to=runtime_multiple())
    smaller = structure.without(choice.gone)

What is left has the classes of the network that came, with smaller tensors and other sizes; it is pickled and exported
as any network, but its ``state_dict`` alone does not fit the code that made the large one.
"""
