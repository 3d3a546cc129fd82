# pyright: basic, reportMissingImports=false
"""distilabel's side of `prefix_sharing.py`; runs in an environment of its own with distilabel[openai]==1.5.3.

    python distilabel_pairs.py PROMPTS.jsonl BASE_URL MODEL BATCH RESULT.json

One task, one request per row, one output token with log-probabilities; nothing is cached on disk.
"""

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from distilabel.models import OpenAILLM
from distilabel.pipeline import Pipeline
from distilabel.steps import LoadDataFromDicts, StepInput
from distilabel.steps.tasks import Task
from distilabel.typing import StepOutput


class Judge(Task):
    """Sends the messages of a row and keeps the token."""

    times: str

    @property
    def inputs(self) -> list[str]:
        """Columns that are read."""
        return ["messages"]

    @property
    def outputs(self) -> list[str]:
        """Columns that are written."""
        return ["verdict"]

    def format_input(self, input: dict[str, Any]) -> Any:
        """The messages as they are."""
        return input["messages"]

    def format_output(self, output: Any, input: Any = None) -> dict[str, Any]:
        """The token."""
        return {"verdict": output}

    def process(self, inputs: StepInput) -> StepOutput:  # the hints are how distilabel wires steps
        """A batch; when it began and ended is written down."""
        began = time.time()
        for batch in super().process(inputs):
            with open(self.times, "a") as file:
                file.write(json.dumps([began, time.time(), len(batch)]) + "\n")
            yield batch


def main() -> None:
    """Run the pipeline and write calls and seconds."""
    prompts, url, model, batch, result = sys.argv[1:]
    rows = [json.loads(line) for line in Path(prompts).read_text().splitlines()]
    with tempfile.TemporaryDirectory() as folder:
        times = Path(folder) / "times.jsonl"
        with Pipeline(name="pairs", cache_dir=folder) as pipeline:
            load = LoadDataFromDicts(data=rows, batch_size=int(batch))
            llm = OpenAILLM(
                model=model,
                base_url=url,
                api_key="none",
                generation_kwargs={"max_new_tokens": 1, "temperature": 0.0, "logprobs": True, "top_logprobs": 20},
            )
            load.connect(Judge(llm=llm, times=str(times), input_batch_size=int(batch)))
        made = pipeline.run(use_cache=False)
        missing = sum(row["verdict"] is None for row in made["default"]["train"])
        if missing:
            raise SystemExit(f"{missing} of {len(rows)} calls failed")
        spans = [json.loads(line) for line in times.read_text().splitlines()]
    calls = sum(count for _, _, count in spans)
    seconds = max(end for _, end, _ in spans) - min(begin for begin, _, _ in spans)
    Path(result).write_text(json.dumps({"calls": calls, "seconds": seconds}))


if __name__ == "__main__":
    main()
