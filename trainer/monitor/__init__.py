"""What a training does to the policy besides raising its reward, looked at every few steps on a fixed set of prompts.

    statistics.py           what samples are like: length, boilerplate, diversity, repetition
    observations.py         what is seen at one step, and what is compared between two
    overoptimisation.py     gold over sqrt(KL), as Gao et al. fit it
    alarm.py                when to stop
    inspection.py           samples from the policy as it is -> an `Observation`
    summary.py              what is said of a whole run
    watch.py                the observations of a run, its alarm, and the weights that were best
    callback.py             the same in a training that transformers runs

All but the last, inspection.py and watch.py are torch-free. Sources: Gao et al. 2022 (arXiv:2210.10760),
Coste et al. 2023 (arXiv:2310.02743).
"""
