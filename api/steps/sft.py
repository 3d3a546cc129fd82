"""The `sft` step: the policy learns the revisions that were kept, and to go on helping (Bai et al. 2022, section 3), or
the best of its own samples."""

from collections.abc import Iterator
from pathlib import Path

from api.recipes import SFTStep
from api.run_context import Outcome, Run, Ticks
from solon.chains import read_chains
from solon.records import RevisionChain
from trainer.config import SFTConfig
from trainer.data import Sample, read_samples, write_samples


class SFT:
    """Writes the model directory `model`, and `demonstrations`, what it learnt."""

    def inputs(self, step: SFTStep, run: Run) -> dict[str, str]:
        """Policy and what is learnt."""
        source = "critiques" if step.on == "revisions" else "best"
        return {"policy": run.policy_digest(), source: run.artifacts[source].digest}

    async def do(self, step: SFTStep, run: Run, folder: Path, ticks: Ticks) -> Outcome:
        """The trained model, and what it learnt from."""
        if step.on == "revisions":
            samples = list(learnt(step, list(read_chains(run.artifacts["critiques"].path))))
        else:
            samples = list(read_samples(run.artifacts["best"].path))
        write_samples(folder / "rows.jsonl", samples)
        config = SFTConfig(
            **step.model_dump(exclude={"type", "on", "revisions", "originals", "lora"}),
            lora=step.lora,
            type="sft",
            model=run.policy_path(),
            rows=folder / "rows.jsonl",
            output=folder / "model",
            state=run.unfinished(folder),
            seed=run.recipe.seed,
        )
        done = await run.train(config, folder / "model-run", ticks.steps("loss", "token_accuracy"))
        result = {name: done.get(name) for name in ("rows", "dropped", "metrics")}
        return Outcome({"model": folder / "model", "demonstrations": folder / "rows.jsonl"}, result)


def learnt(step: SFTStep, chains: list[RevisionChain]) -> Iterator[Sample]:
    """The kept revisions, all or the last of each chain, and the originals that nothing was wrong with; of a chain in
    quarantine nothing."""
    for chain in chains:
        if chain.quarantined:
            continue
        kept = [revision.completion for revision in chain.kept if revision.completion is not None]
        for completion in kept if step.revisions == "all" else kept[-1:]:
            yield Sample(prompt=chain.prompt, completion=completion)
        benign = bool(chain.prompt.metadata.get("benign"))
        if not kept and (step.originals == "all" or (step.originals == "benign" and benign)):
            yield Sample(prompt=chain.prompt, completion=chain.original)
