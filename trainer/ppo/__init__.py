"""Proximal policy optimisation of a language model against rewards, held near a reference. Read loop.py first.

    loop.py         a run: sample, score, train, adapt, keep
    rollout.py      prompts -> completions with rewards, log-probabilities and values: an `Experience`
    served.py       completions from a vLLM server that is given the adapter at each step
    mismatch.py     how far that server's probabilities are from the policy's
    advantages.py   rewards per token, generalised advantage estimation, whitening
    losses.py       clipped losses of policy and value
    kl.py           estimators of the divergence, and the controller of its price
    constraint.py   the price of a cost that is bounded
    prices.py       both prices, as a run carries them
    networks.py     actor, reference and critic, and what each says of a batch
    update.py       an `Experience` -> optimiser steps
    state.py        checkpoints, exact

Sources: Schulman et al. 2017 (arXiv:1707.06347), Ziegler et al. 2019 (arXiv:1909.08593), Ouyang et al. 2022
(arXiv:2203.02155). Tensors of shape [episode, token] hold responses only, left-aligned, with a mask.
"""
