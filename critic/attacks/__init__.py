"""Attacks on a judge: texts that ask it for a verdict, and what they achieve."""

from critic.attacks.suite import POSITIONS, Attack, Position, controls, placed, suite
from critic.attacks.trial import AttackReport, Probe, Tally, attack, probes

__all__ = [
    "POSITIONS",
    "Attack",
    "AttackReport",
    "Position",
    "Probe",
    "Tally",
    "attack",
    "controls",
    "placed",
    "probes",
    "suite",
]
