"""Reward models: pairs of completions in, a number for any completion out.

groups.py        pairs -> one group of completions per prompt, with its comparisons
losses.py        Bradley-Terry under soft labels
training.py      one member of an ensemble, trained
calibration.py   accuracy and calibration on held-out prompts
scoring.py       trained models at work, alone or as an ensemble
"""
