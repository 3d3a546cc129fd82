"""`solon pairs reweight`: two profiles from one labelled file, and what is said of them."""

import asyncio
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from api.cli.pairs import app
from api.labelling import LabelRequest, label_file
from constitution.document import load
from solon.datasets import read_discards, read_manifest, read_pairs
from solon.errors import InvalidInput
from solon.fakes import scoring_judge
from solon.settings import Settings
from tests.integration.service import FakeModels

LONG = "a friendly answer that goes on and on and on"
JUDGE = "models.far-judge={kind: judge, engine: openai, endpoint: 'http://127.0.0.1:9/v1'}"
BRIEF = {"concise": 20.0, "tag:tone": 0.0}


def score(text: str, principle: str) -> float:
    """Friendly answers are respectful, short ones get to the point; other principles have nothing to say."""
    if "respect" in principle:
        return float("friendly" in text)
    return -len(text) / 40 if "get to the point" in principle else 0.0


def labelled(folder: Path, **options: object) -> Path:
    rows, out = folder / "rows.jsonl", folder / "labels.jsonl"
    row = {"prompt": "Hi", "response_a": LONG, "response_b": "short"}
    rows.write_text(json.dumps(row) + '\n{"prompt": "Ho", "response_a": "x", "response_b": "x"}\n')
    settings = Settings.load(overrides=[JUDGE], environment={})
    request = LabelRequest("civic", "far-judge", **options)  # type: ignore[arg-type]
    asyncio.run(label_file(rows, out, request, settings, lambda _: None, FakeModels(far_judge=scoring_judge(score))))
    return out


def reweight(dataset: Path, out: str, *weights: str) -> Result:
    options = [part for weight in weights for part in ("--weight", weight)]
    arguments = ["reweight", str(dataset), "--constitution", "civic", "--out", str(dataset.with_name(out)), "--json"]
    return CliRunner().invoke(app, [*arguments, *options])


def test_two_profiles_make_two_datasets_from_one_set_of_votes(tmp_path: Path):
    dataset = labelled(tmp_path)
    reweight(dataset, "warm.jsonl", "tag:tone=5")
    summary = json.loads(reweight(dataset, "brief.jsonl", "concise=20", "tag:tone=0").stdout)

    chosen = {name: next(read_pairs(tmp_path / f"{name}.jsonl")).chosen_text for name in ("warm", "brief")}
    assert chosen == {"warm": LONG, "brief": "short"}
    assert (summary["judge_calls"], summary["changes"]) == (0, {"flipped": 1})


def test_the_manifest_names_the_weights_and_the_dataset_they_came_from(tmp_path: Path):
    dataset = labelled(tmp_path)
    reweight(dataset, "brief.jsonl", "concise=20", "tag:tone=0")

    manifest, source = read_manifest(tmp_path / "brief.jsonl"), read_manifest(dataset)
    assert manifest.weights == (BRIEF,)
    assert manifest.about["reweighted_from"] == {"file": "labels.jsonl", "sha256": source.sha256}
    assert manifest.constitutions[0]["hash"] != source.constitutions[0]["hash"]
    assert list(read_discards(tmp_path / "brief.jsonl")) == list(read_discards(dataset))


def test_labelling_with_weights_gives_the_same_labels(tmp_path: Path):
    dataset = labelled(tmp_path)
    reweight(dataset, "brief.jsonl", "concise=20", "tag:tone=0")
    (tmp_path / "direct").mkdir()
    direct = labelled(tmp_path / "direct", weights=BRIEF)

    one, other = next(read_pairs(tmp_path / "brief.jsonl")), next(read_pairs(direct))
    assert (one.p_a, one.verdicts, one.provenance.weights) == (other.p_a, other.verdicts, other.provenance.weights)


def test_a_derived_constitution_reads_the_same_votes(tmp_path: Path):
    dataset, child = labelled(tmp_path), tmp_path / "brief.yaml"
    version = load("civic").version
    child.write_text(
        f"format: constitution/v1\nid: brief\ntitle: Brief\nversion: 1.0.0\n"
        f"derived_from: {{constitution: civic@{version}, drop: {{principles: [respectful]}}}}\n"
        "principles: [{id: concise, weight: 10.0}]\n"
    )
    out = tmp_path / "brief.jsonl"
    CliRunner().invoke(app, ["reweight", str(dataset), "--constitution", str(child), "--out", str(out)])

    (pair,) = read_pairs(out)
    assert (pair.chosen_text, pair.provenance.constitution) == ("short", "brief")


@pytest.mark.parametrize(
    ("weights", "says"),
    [
        (["concise"], "cannot read 'concise'"),
        (["concise=much"], "write concise=3"),
        (["nothing=2"], "no principle or tag"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, weights: list[str], says: str):
    result = reweight(labelled(tmp_path), "out.jsonl", *weights)

    assert isinstance(result.exception, InvalidInput)
    assert says in str(result.exception)


def test_the_labelled_set_itself_is_never_overwritten(tmp_path: Path):
    result = reweight(labelled(tmp_path), "labels.jsonl", "concise=2")

    assert "is the input itself" in str(result.exception)
