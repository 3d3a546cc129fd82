# pyright: basic, reportMissingImports=false
"""The reference's side of `ifeval_agreement.py`; runs in an environment of its own with if-verifiable==0.1.2.

    python ifeval_reference.py CASES.jsonl VERDICTS.json

if-verifiable carries the reference code of IFEval. An instruction that cannot be checked here (nltk's tokenizer data
is a download of its own) is null.
"""

import json
import sys
from pathlib import Path

from if_verifiable.ifeval.instructions_registry import INSTRUCTION_DICT


def verdict(case: dict) -> bool | None:
    """Whether the text follows the instruction."""
    checker = INSTRUCTION_DICT[case["instruction"]](case["instruction"])
    checker.build_description(**{name: value for name, value in case["arguments"].items() if value is not None})
    try:
        return bool(case["text"].strip() and checker.check_following(case["text"]))
    except LookupError:  # nltk's data is not there
        return None


def main() -> None:
    """Read the cases, write one verdict each."""
    cases, verdicts = map(Path, sys.argv[1:])
    verdicts.write_text(json.dumps([verdict(json.loads(line)) for line in cases.read_text().splitlines()]))


if __name__ == "__main__":
    main()
