"""Our checks of IFEval's instructions against the reference code: how often they agree, by instruction.

    python -m benchmarks.ifeval_agreement --reference ENV/bin/python --instructions ifeval_dev.jsonl --texts a.jsonl ...

ENV has if-verifiable==0.1.2, which carries the reference code. Every instruction of the file, with its arguments, is
put to texts of people and models as they stand and made to obey one format or another (upper case, bullets, a title,
a postscript, ...), so that both answers occur. Lines of the files: `chosen`, `rejected`, `response_a`, `response_b`.
"""

import argparse
import json
import random
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from critic.rules.instructions import check

MADE: tuple[Callable[[str], str], ...] = (
    str,
    str.upper,
    str.lower,
    lambda text: f'"{text}"',
    lambda text: f"<<About this>>\n{text}",
    lambda text: "\n".join(f"* {line}" for line in text.splitlines() if line.strip()),
    lambda text: "\n\n***\n\n".join(part for part in text.split("\n\n") if part.strip()),
    lambda text: f"{text} ****** {text[::-1]}",
    lambda text: f"Section 1 {text} Section 2 {text} SECTION 3",
    lambda text: f"*{text.split(' ')[0]}* {text} **so there** [name] [date] [place]",
    lambda text: json.dumps({"answer": text}),
    lambda text: f"```json\n{json.dumps([text])}\n```",
    lambda text: f"{text}\n\nP.S. One more thing.",
    lambda text: f"{text}\n\nP.P.S One more thing.",
    lambda text: text.replace(",", ""),
    lambda text: f"My answer is maybe. {text}",
)


def texts(files: list[Path]) -> Iterator[str]:
    """The completions in the files."""
    for file in files:
        for line in file.read_text().splitlines():
            row = json.loads(line)
            yield from (row[key] for key in ("chosen", "rejected", "response_a", "response_b") if _is_text(row, key))


def _is_text(row: dict[str, Any], key: str) -> bool:
    return isinstance(row.get(key), str) and bool(row[key].strip())


def cases(instructions: Path, given: list[str], each: int) -> list[dict[str, Any]]:
    """Every instruction of the file with `each` texts drawn for it; what shall be repeated is in some."""
    made: list[dict[str, Any]] = []
    for line in instructions.read_text().splitlines():
        row = json.loads(line)
        draw = random.Random(row["key"])
        for name, arguments in zip(row["instruction_id_list"], row["kwargs"], strict=True):
            for number in range(each):
                text = draw.choice(MADE)(draw.choice(given))
                wanted = arguments.get("end_phrase") or arguments.get("prompt_to_repeat")
                if wanted and number % 2:
                    text = f"{wanted}\n{text} {wanted}"
                made.append({"instruction": name, "arguments": arguments, "text": text})
    return made


def main() -> None:
    """Print agreement by instruction, and a disagreement of each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--reference", type=Path, required=True, help="python of an environment with if-verifiable")
    parser.add_argument("--instructions", type=Path, required=True)
    parser.add_argument("--texts", type=Path, nargs="+", required=True)
    parser.add_argument("--each", type=int, default=40, help="texts per instruction")
    options = parser.parse_args()
    made = cases(options.instructions, list(texts(options.texts)), options.each)
    with tempfile.TemporaryDirectory() as folder:
        asked, answered = Path(folder) / "cases.jsonl", Path(folder) / "verdicts.json"
        asked.write_text("".join(json.dumps(case) + "\n" for case in made))
        script = Path(__file__).with_name("ifeval_reference.py")
        subprocess.run([str(options.reference), str(script), str(asked), str(answered)], check=True)
        theirs: list[bool | None] = json.loads(answered.read_text())
    report(made, theirs)


def report(made: list[dict[str, Any]], theirs: list[bool | None]) -> None:
    """A line per instruction: cases, how many the reference says are followed, agreement, and which way we differ."""
    found: dict[str, list[tuple[bool, bool]]] = defaultdict(list)
    unknown: dict[str, int] = defaultdict(int)
    for case, reference in zip(made, theirs, strict=True):
        if reference is None:
            unknown[case["instruction"]] += 1
            continue
        ours = check(case["instruction"], case["arguments"], field="case")(case["text"])
        found[case["instruction"]].append((ours, reference))
    for name, pairs in sorted(found.items()):
        same = sum(ours == reference for ours, reference in pairs)
        stricter = sum(reference and not ours for ours, reference in pairs)
        print(
            f"{name:42s} {len(pairs):5d} cases, {sum(reference for _, reference in pairs):5d} followed, "
            f"agreement {same / len(pairs):.4f}, only the reference says yes {stricter}, "
            f"only we do {len(pairs) - same - stricter}"
        )
    pairs = [pair for each in found.values() for pair in each]
    print(f"all: {len(pairs)} cases, agreement {sum(ours == theirs for ours, theirs in pairs) / len(pairs):.4f}")
    print(f"not checked, for want of nltk's data: {dict(unknown)}")


if __name__ == "__main__":
    main()
