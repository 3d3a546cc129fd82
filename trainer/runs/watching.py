"""The monitor of a run, from its configuration."""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from trainer.config import MonitorConfig
from trainer.data import Encoder, read_samples
from trainer.monitor.inspection import Inspection, Material, Subject
from trainer.monitor.watch import Watch
from trainer.rewards.mix import Source
from trainer.rewards.sources import absolute
from trainer.runs.prompts import read_prompts
from trainer.runs.records import Emit, keep


def watch(
    config: MonitorConfig | None,
    subject: Callable[[], Subject],
    encoder: Encoder,
    sources: Sequence[Source],
    folder: Path,
    emit: Emit,
) -> Watch | None:
    """The monitor, its prompts and texts read; None where nothing is to be watched.

    Args:
        subject: makes what is watched.
        sources: of the reward that is trained on.
        folder: where the best weights are kept while the run lasts.
    """
    if config is None:
        return None
    drops: Counter[str] = Counter()
    watched = subject()
    tokens = config.max_tokens or watched.max_tokens
    texts = list(read_samples(config.text)) if config.text is not None else []
    material = Material(
        prompts=read_prompts(config.prompts, encoder, tokens, drops),
        text=keep((encoder.sample(text) for text in texts), drops),
        tasks=read_prompts(config.tasks, encoder, tokens, drops) if config.tasks is not None else (),
    )
    emit("phase", name="watch", prompts=len(material.prompts), text=len(material.text), dropped=dict(drops))
    inspection = Inspection(config, watched, material, absolute(sources))
    return Watch(config, inspection, watched.weights, folder, emit)
