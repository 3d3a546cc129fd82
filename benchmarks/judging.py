"""What the critic itself costs: comparisons per second of processor time, with a judge that answers at once.

    python benchmarks/judging.py

Prints judge calls and comparisons (ten principles, both orders) per second. A real judge answers a few hundred calls a
second on a processor and a few thousand on a GPU, so this is how much of a core the bookkeeping takes.
"""

import asyncio
import time

from constitution.document import load
from critic.judge import Judge
from critic.pipeline import label
from solon.fakes import keyword_judge
from solon.records import Completion, Message, Prompt
from solon.rows import Row

ROWS = 400


def row(number: int) -> Row:
    """A question with two answers of some eighty words."""
    prompt = Prompt(id=f"p{number}", messages=(Message(role="user", content=f"Question {number}, and why? " * 10),))
    texts = ("A kind answer that helps. " * 16, "A rude answer that does not. " * 16)
    return Row(prompt=prompt, completions=tuple(Completion(text=f"{number} {text}") for text in texts))


async def main() -> None:
    """Label the rows and print the rates."""
    model = keyword_judge(["kind"], ["rude"])
    started = time.process_time()
    items = label((row(i) for i in range(ROWS)), constitution=load("civic"), judge=Judge(model))
    pairs = len([item async for item in items])
    seconds = time.process_time() - started
    print(f"{model.calls / seconds:.0f} judge calls and {pairs / seconds:.0f} comparisons per processor second")


if __name__ == "__main__":
    asyncio.run(main())
