"""What a way of judging has to offer: two questions, each answered by a `Reading` or an exception.

    logprobs       one token, its log-probabilities (the default)
    json           a reason and a verdict under a JSON schema
    cot            a written argument, then one token
    score          a mark for each completion on a scale, one token each
    reward_model   a trained model's reward for each completion

A method answers for one order of listing. Both orders, failures, thresholds and averages are the judge's business
(`critic.judge`), so they are the same for all methods.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol, runtime_checkable

from constitution.document import Principle
from critic.judges.desk import Desk
from critic.readings import Reading
from solon.records import Comparison, Completion, Prompt


class Method(Protocol):
    """A way of judging."""

    name: ClassVar[str]
    """As settings call it."""

    @property
    def sampling(self) -> Mapping[str, Any]:
        """All that decides an answer besides model, templates and texts, as provenance records it."""
        ...

    pair_templates: ClassVar[tuple[str, ...]]
    """Names of the templates that `prefer` uses."""
    question_templates: ClassVar[tuple[str, ...]]
    """Names of the templates that `ask` uses."""
    marks_each: ClassVar[bool]
    """Whether each completion is judged on its own, so that the order of listing cannot matter."""

    async def prefer(self, listed: Comparison, principle: Principle, desk: Desk) -> Reading:
        """P(the first-listed completion follows the principle better).

        Raises:
            PromptTooLong, RequestTimedOut, RequestFailed: this call failed.
            ModelUnavailable: the model cannot be reached.
        """
        ...

    async def ask(self, prompt: Prompt, completion: Completion, question: str, desk: Desk) -> Reading:
        """P(yes) to a question about one completion; raises as `prefer` does."""
        ...


@runtime_checkable
class Marks(Protocol):
    """A method that also gives one completion a mark of its own."""

    async def mark(self, prompt: Prompt, completion: Completion, principle: Principle, desk: Desk) -> Reading:
        """A reading with `score` set; raises as `Method.prefer` does."""
        ...
