"""A monitor in a training that a trainer of transformers runs in rounds, several optimiser steps each."""

import json
from typing import Any

from transformers import TrainerCallback
from transformers.trainer_callback import ExportableState, TrainerControl, TrainerState
from transformers.trainer_utils import SaveStrategy

from trainer.monitor.watch import Watch


class WatchedRounds(TrainerCallback, ExportableState):
    """Looks between rounds. What was seen is in the checkpoints, in the trainer's own state."""

    def __init__(self, watch: Watch, per_round: int) -> None:
        """Args:
        per_round: optimiser steps of a round.
        """
        self._watch, self._per_round = watch, per_round

    def state(self) -> dict[str, Any]:
        """For the checkpoint; a text, since transformers sorts keys."""
        return {"watch": json.dumps(self._watch.as_state())}

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Know what had been seen at the checkpoint that is gone on from, or look before the first step."""
        kept: Any = state.stateful_callbacks
        self._watch.restore(json.loads(kept[type(self).__name__]["watch"]))
        self._watch.begin()

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Look where a round ends; the last one, for which there is a checkpoint too, where the run is to end."""
        done, within = divmod(state.global_step, self._per_round)
        if within:
            return
        self._watch.after(done, last=state.global_step >= state.max_steps)
        if self._watch.stopped:
            control.should_training_stop = True
            control.should_save = args.save_strategy != SaveStrategy.NO

    def on_save(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Weights that only the checkpoint before could need go."""
        self._watch.settle()
