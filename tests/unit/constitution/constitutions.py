"""Constitutions of any shape, for laws that hold of all of them."""

from typing import Any

from hypothesis import strategies as st

from constitution.document import Constitution

_NAMES = st.from_regex(r"[a-z][a-z0-9-]{0,8}", fullmatch=True)
_VARIABLES = st.from_regex(r"[a-z][a-z0-9]{0,6}_", fullmatch=True)  # the underscore: never a word of CEL
_ODD = ["Be kind.", "yes", "1.0", "2026-01-31", "null", "a: b # c", "- x", "'", '"', "|", "two\n\n  lines", "end\n\tx"]
_UNSEEN = "".join(map(chr, (*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0xFEFF)))
_TEXT = st.one_of(
    st.sampled_from(_ODD),
    st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters=_UNSEEN), max_size=40),
    st.text(" \n\tab:#-'\"\\{}[]&*!|>%@`,?\u00e9\u2028", max_size=160),
).map(lambda text: text.strip() or "x")
_NUMBERS = st.floats(0.001, 1000, allow_nan=False)
_WHOLE = st.floats(-1e6, 1e6, allow_nan=False)


def _parts(fields: dict[str, st.SearchStrategy[Any]], *, most: int = 4) -> st.SearchStrategy[tuple[Any, ...]]:
    """Up to `most` parts with distinct ids."""
    return st.lists(st.fixed_dictionaries(fields), max_size=most, unique_by=lambda part: part["id"]).map(tuple)


def _propositions() -> st.SearchStrategy[tuple[Any, ...]]:
    question = st.fixed_dictionaries({"id": _VARIABLES, "kind": st.just("judge"), "question": _TEXT})
    patterns = st.sampled_from([r"(?i)\bas an ai\b", "kind", "[a-z]+", "^x$"])
    regex = st.fixed_dictionaries({"id": _VARIABLES, "kind": st.just("regex"), "pattern": patterns})
    measure = st.fixed_dictionaries(
        {"id": _VARIABLES, "kind": st.just("measure"), "measure": st.sampled_from(["words", "lines", "repetition"])},
        optional={},
    )
    limit = st.fixed_dictionaries({"op": st.sampled_from([">", "<=", "=="]), "value": _WHOLE})
    limited = st.tuples(measure, limit).map(lambda both: both[0] | both[1])
    kinds = st.one_of(question, regex, measure, limited)
    return st.lists(kinds, max_size=4, unique_by=lambda part: part["id"]).map(tuple)


@st.composite
def constitutions(draw: st.DrawFn) -> Constitution:
    """A valid constitution with principles, and any of the other sections."""
    others = draw(st.lists(_NAMES.filter(lambda name: name != "general"), max_size=2, unique=True))
    scopes = {name: {"description": draw(_TEXT)} for name in ("general", *others)}
    some_scopes = st.lists(st.sampled_from(sorted(scopes)), unique=True, max_size=2).map(tuple)
    principles = draw(
        _parts(
            {
                "id": _NAMES,
                "title": st.none() | _TEXT,
                "tags": st.lists(_NAMES, max_size=2).map(tuple),
                "scopes": some_scopes,
                "weight": _NUMBERS,
                "veto": st.booleans(),
                "text": _TEXT,
                "compare": st.none() | _TEXT,
                "critique": st.none() | _TEXT,
                "revise": st.none() | _TEXT,
            }
        ).filter(bool)
    )
    propositions = draw(_propositions())
    kinds = ("judge", "regex")
    when = st.sampled_from(["true", *(part["id"] for part in propositions if part["kind"] in kinds)])
    known = st.sampled_from([principle["id"] for principle in principles])
    example = {"id": _NAMES, "kind": st.just("comparison"), "principle": known, "prompt": _TEXT, "better": _TEXT}
    case = {"id": _NAMES, "scope": st.sampled_from(sorted(scopes)), "prompt": _TEXT, "better": _TEXT, "worse": _TEXT}
    return Constitution.model_validate(
        {
            "format": "constitution/v1",
            "id": draw(_NAMES),
            "title": draw(_TEXT),
            "version": draw(st.from_regex(r"(0|[1-9][0-9]?)\.(0|[1-9][0-9]?)\.0", fullmatch=True)),
            "status": draw(st.sampled_from(["draft", "published", "retired"])),
            "summary": draw(st.none() | _TEXT),
            "scopes": scopes,
            "principles": principles,
            "few_shot": draw(_parts(example | {"worse": _TEXT}, most=2)),
            "propositions": propositions,
            "rules": draw(_parts({"id": _NAMES, "when": when, "reward": _WHOLE, "scopes": some_scopes})),
            "combine": {
                "method": draw(st.sampled_from(["weighted_mean", "logit_sum"])),
                "tie_margin": draw(st.floats(0, 0.99)),
            },
            "cases": draw(_parts(case | {"because": st.lists(known, max_size=2, unique=True).map(tuple)}, most=2)),
        }
    )
