"""What the service counts, for Prometheus. Every label has few values: registered names, states, stable words.

Counters belong to the process. Where `PROMETHEUS_MULTIPROC_DIR` names an empty folder that servers and workers of a
machine share, the client library adds them up (its multiprocess mode); what only the database knows, such as jobs by
state, is read at each scrape (`api.gauges`) and is the same whichever process is asked.
"""

import os
from collections import Counter as Tally
from collections.abc import Iterable
from typing import Final

from prometheus_client import (
    GC_COLLECTOR,
    PLATFORM_COLLECTOR,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
    multiprocess,
)
from prometheus_client.registry import Collector

from solon import __version__
from solon.records import Discard, PreferencePair

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
OTHER: Final = "other"
"""Label of all values after the first few hundred."""

disable_created_metrics()  # a second series for each counter that no query asks for

_MOST_VALUES: Final = 200
_REQUEST_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_MODEL_S: Final = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)


class Metrics:
    """All metrics of one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        made = self.registry
        self.pairs = Counter("solon_pairs", "Comparisons labelled.", ["status", "constitution", "judge"], registry=made)
        self.discards = Counter("solon_discards", "Rows that made no comparison.", ["reason"], registry=made)
        self.flags = Counter("solon_pair_flags", "Pairs with something to look at.", ["flag"], registry=made)
        self.judge_calls = Counter("solon_judge_calls", "Questions put to a judge.", ["judge"], registry=made)
        self.cache_hits = Counter(
            "solon_judge_cache_hits", "Questions that the judgement cache answered.", ["judge"], registry=made
        )
        self.votes = Counter("solon_votes", "Judge's votes, one for each order.", ["judge", "status"], registry=made)
        self.orders = Counter(
            "solon_verdicts", "Verdicts from both orders; flipped: the orders disagree.", ["judge", "flipped"],
            registry=made,
        )  # fmt: skip
        self.model_requests = Counter(
            "solon_model_requests", "Requests to model servers by how they ended.", ["model", "outcome"], registry=made
        )
        self.model_retries = Counter("solon_model_retries", "Attempts after the first.", ["model"], registry=made)
        self.model_seconds = Histogram(
            "solon_model_request_seconds", "From request to answer, retries included.", ["model"],
            buckets=_MODEL_S, registry=made,
        )  # fmt: skip
        self.tokens = Counter(
            "solon_model_tokens", "Tokens as servers report them; cached ones are prompt's.", ["model", "kind"],
            registry=made,
        )  # fmt: skip
        self.cost_usd = Counter(
            "solon_model_cost_usd", "At the prices of the registry, US dollars.", ["model"], registry=made
        )
        self.model_up = Gauge(
            "solon_model_up", "0 while a model server cannot be reached.", ["model"],
            registry=made, multiprocess_mode="livemin",
        )  # fmt: skip
        self.requests = Counter(
            "solon_http_requests", "Requests answered.", ["method", "route", "status"], registry=made
        )
        self.request_seconds = Histogram(
            "solon_http_request_seconds", "Until the answer is sent; event streams are not among them.",
            ["method", "route"], buckets=_REQUEST_S, registry=made,
        )  # fmt: skip
        self.in_flight = Gauge(
            "solon_http_requests_in_flight", "Being worked on.", registry=made, multiprocess_mode="livesum"
        )
        self.streams = Gauge("solon_event_streams", "Open.", registry=made, multiprocess_mode="livesum")
        self.build = Gauge("solon_build_info", "1.", ["version"], registry=made, multiprocess_mode="livemax")
        self.build.labels(__version__).set(1)
        self._seen: dict[str, set[str]] = {}

    def bounded(self, kind: str, value: str) -> str:
        """The value, or `other` where there were too many different ones of its kind already."""
        seen = self._seen.setdefault(kind, set())
        if value not in seen:
            if len(seen) >= _MOST_VALUES:
                return OTHER
            seen.add(value)
        return value

    def labelled(self, item: PreferencePair | Discard) -> None:
        """Count one thing that labelling made."""
        if isinstance(item, Discard):
            self.discards.labels(self.bounded("reason", item.reason)).inc()
            return
        made = item.provenance
        judge = self.bounded("judge", made.judge.get("name") or "none")
        self.pairs.labels(item.status.value, self.bounded("constitution", made.constitution), judge).inc()
        for flag in item.flags:
            self.flags.labels(self.bounded("flag", flag.partition(":")[0])).inc()
        self.judge_calls.labels(judge).inc(made.judge_calls)
        self.cache_hits.labels(judge).inc(made.cache_hits)
        for status, count in Tally(vote.status.value for verdict in item.verdicts for vote in verdict.votes).items():
            self.votes.labels(judge, status).inc(count)
        found = Tally(verdict.consistent for verdict in item.verdicts)
        self.orders.labels(judge, "no").inc(found[True])
        self.orders.labels(judge, "yes").inc(found[False])


def exposition(metrics: Metrics, gauges: Iterable[Collector] = ()) -> bytes:
    """All metrics in Prometheus' text format.

    Args:
        gauges: read now; they are the same for all processes.
    """
    shared = "PROMETHEUS_MULTIPROC_DIR" in os.environ
    registry = CollectorRegistry() if shared else metrics.registry
    if shared:
        multiprocess.MultiProcessCollector(registry)
    own = CollectorRegistry()
    ProcessCollector(registry=own)
    for collector in (PLATFORM_COLLECTOR, GC_COLLECTOR, *gauges):
        own.register(collector)
    return generate_latest(registry) + generate_latest(own)


def names(metrics: Metrics) -> set[str]:
    """The series of this process that queries may name, whether or not anything was counted."""
    found: set[str] = set()
    for metric in metrics.registry.collect():
        suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}.get(metric.type, ("",))
        found |= {metric.name + suffix for suffix in suffixes}
    return found
