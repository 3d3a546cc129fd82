"""The observations of runs as charts, sentences and rows of a table. Torch-free."""

from collections.abc import Mapping, Sequence
from statistics import stdev
from typing import Any

from solon import charts
from solon.charts import Mark
from trainer.monitor.observations import Observation
from trainer.monitor.overoptimisation import fitted
from trainer.monitor.summary import Summary, gold_points

DISTANCE = "\u221aKL, \u221anats:"
_TITLES = {"proxy": "The reward it is trained on", "judge": "Held-out judge", "oracle": "Oracle"}
_TEXTS = {
    "proxy": "Mean on the fixed prompts.",
    "judge": "P(better than what the reference wrote).",
    "oracle": "Its mark, in [0, 1].",
}
_CURVE_POINTS = 40


def overview(seen: Sequence[Observation]) -> Any:
    """Reward and gold of one run over its distance, in standard deviations of a prompt's score at the start."""
    series = {what: standardised(seen, what) for what in _TITLES if what in seen[0].scores}
    return charts.curves(series, "Reward and gold over the distance from the reference", DISTANCE, include=(0.0,))


def standardised(seen: Sequence[Observation], what: str) -> list[Mark]:
    """The change since the first observation, in standard deviations over prompts then; whiskers are standard errors.

    What does not vary over prompts is left as it is.
    """
    known = [score for score in seen[0].scores.get(what, ()) if score is not None]
    unit = (stdev(known) if len(known) > 1 else 0.0) or 1.0
    marks = measured(seen, what)
    start = marks[0].y if marks else 0.0
    return [Mark(m.x, (m.y - start) / unit, None if m.error is None else m.error / unit) for m in marks]


def measured(seen: Sequence[Observation], what: str) -> list[Mark]:
    """`proxy`, `judge` or `oracle` over sqrt(KL)."""
    found: list[Mark] = []
    for each in seen:
        estimate = each.proxy if what == "proxy" else {**each.gold}.get(what)  # pyright: ignore[reportArgumentType, reportCallIssue]
        if estimate is not None:
            found.append(Mark(each.distance, estimate.value, estimate.standard_error))
    return found


def panels(runs: Mapping[str, Sequence[Observation]]) -> list[dict[str, Any]]:
    """Title, text and chart of what is measured of these runs, each run a series under its name; fits dotted."""
    found: list[dict[str, Any]] = []
    for what, title in _TITLES.items():
        series = {name: measured(seen, what) for name, seen in runs.items()}
        if any(series.values()):
            fits = {name: _curve(seen, what) for name, seen in runs.items() if what != "proxy"}
            chart = charts.curves({n: m for n, m in series.items() if m}, title, DISTANCE, fits=fits)
            found.append({"title": title, "text": _TEXTS[what], "chart": chart})
    return found


def _curve(seen: Sequence[Observation], gold: str) -> list[tuple[float, float]]:
    """The law of Gao et al. through the run's gold; nothing where it cannot be fitted."""
    points = gold_points(seen, gold)
    fit = fitted(points)
    if fit is None:
        return []
    start = next(each.gold[gold].value for each in seen if gold in each.gold)  # pyright: ignore[reportArgumentType]
    widest = max(d for d, _ in points)
    return [(widest * i / _CURVE_POINTS, start + fit.at(widest * i / _CURVE_POINTS)) for i in range(_CURVE_POINTS + 1)]


def sentences(found: Summary) -> list[str]:
    """What happened, for people: the alarm, what was published, and where the law has its peak."""
    told = [f"Alarm after step {found.alarm.step}. {found.alarm.message}"] if found.alarm is not None else []
    published = found.published
    if "last_step" in published:
        told.append(
            f"The model is the one after step {published['step']}, {published['because']}, not the last, after step"
            f" {published['last_step']}."
        )
    for gold, fit in found.fits.items():
        if fit.peak is not None and fit.r_squared is not None:
            told.append(
                f"{gold} = d ({fit.a:.3g} - {fit.b:.3g} ln d) above the start, with its peak at d = {fit.peak:.2g}"
                f" (R\u00b2 = {fit.r_squared:.2f}, {fit.points} points)."
            )
    return told


_ROWS: tuple[tuple[str, str, str], ...] = (
    ("kl_nats", "KL, nats per completion", "{:.2f}"),
    ("benign_compliance", "Benign requests answered", "{:.1%}"),
    ("benign_refusal", "Benign requests refused", "{:.1%}"),
    ("harmful_compliance", "Harmful requests complied with", "{:.1%}"),
    ("mean_words", "Words", "{:.1f}"),
    ("length_correlation", "Length and reward within a prompt (Spearman)", "{:+.2f}"),
    ("boilerplate", "Boilerplate", "{:.1%}"),
    ("repetitive", "Repetitive", "{:.1%}"),
    ("unfinished", "Unfinished", "{:.1%}"),
    ("distinct_2", "Distinct bigrams", "{:.3f}"),
    ("self_bleu", "Self-BLEU", "{:.3f}"),
    ("opening_entropy", "Entropy of openings, nats", "{:.2f}"),
    ("disagreement", "Ensemble's standard deviation", "{:.2f}"),
    ("training_disagreement", "The same on its training pairs", "{:.2f}"),
    ("sample_perplexity", "Perplexity of samples under the reference", "{:.2f}"),
    ("perplexity", "Perplexity of general text", "{:.2f}"),
    ("accuracy", "Accuracy on tasks", "{:.1%}"),
)


def rows(observations: Sequence[Observation]) -> list[tuple[str, list[str]]]:
    """A title and a cell for each observation; what was not measured in any of them is left out."""
    found = [_estimates(observations, what) for what in _TITLES]
    for name, title, form in _ROWS:
        values = [getattr(each, name) for each in observations]
        found.append((title, ["-" if value is None else form.format(value) for value in values]))
    return [(title, cells) for title, cells in found if set(cells) != {"-"}]


def _estimates(observations: Sequence[Observation], what: str) -> tuple[str, list[str]]:
    marks = [next(iter(measured([each], what)), None) for each in observations]
    return _TITLES[what], ["-" if m is None else f"{m.y:.3f} \u00b1 {m.error or 0.0:.3f}" for m in marks]
