"""Every pair has the same chance, and every stratum its share."""

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from critic.strata import Member, Stratum, sizes, stratified, stratum
from solon.records import Completion, Message, PreferencePair, Prompt, Provenance, Status

STRATA = [Stratum("general", "clear", "none"), Stratum("general", "tie", "with"), Stratum("harm", "narrow", "against")]


def population(*counts: int) -> list[Member]:
    kinds = [kind for kind, count in zip(STRATA, counts, strict=False) for _ in range(count)]
    return [Member(index, f"pref_{index}", kind) for index, kind in enumerate(kinds)]


def pair(p_a: float, votes: tuple[str, ...] = (), scope: str = "general") -> PreferencePair:
    tie = abs(p_a - 0.5) < 0.05
    return PreferencePair(
        id="pref_1",
        status=Status.TIE if tie else Status.OK,
        prompt=Prompt(id="p", messages=(Message(role="user", content="?"),), scope=scope),
        a=Completion(text="one"),
        b=Completion(text="two"),
        p_a=p_a,
        chosen=None if tie else "a" if p_a > 0.5 else "b",
        margin=abs(p_a - 0.5) * 2,
        provenance=Provenance(constitution="x", constitution_version="1.0.0", constitution_hash="h"),
        extra={"human_votes": list(votes)} if votes else {},
    )


def test_pairs_are_told_apart_by_scope_margin_and_people() -> None:
    assert stratum(pair(0.9)) == ("general", "clear", "none")
    assert stratum(pair(0.7, ("a", "a", "b"))) == ("general", "narrow", "with")
    assert stratum(pair(0.1, ("a",), "harm")) == ("harm", "clear", "against")
    assert stratum(pair(0.5, ("a", "b"))) == ("general", "tie", "tie")


@settings(max_examples=40)
@given(st.tuples(*[st.integers(0, 80)] * 3), st.integers(1, 60), st.integers(0, 1000))
def test_each_stratum_has_its_share_to_within_one_pair(counts: tuple[int, int, int], size: int, seed: int) -> None:
    everyone = population(*counts)
    sample = stratified(everyone, size, seed)

    assert len(sample) == len(set(sample)) == min(size, len(everyone))
    assert list(sample) == sorted(sample, key=lambda each: each.index)
    drawn = Counter(each.stratum for each in sample)
    for kind, count in zip(STRATA, counts, strict=True):
        assert abs(drawn[kind] - len(sample) * count / max(1, len(everyone))) < 1 + 1e-9


def test_the_same_seed_gives_the_same_sample_and_another_seed_another() -> None:
    everyone = population(100, 50, 10)

    assert stratified(everyone, 20, 1) == stratified(everyone, 20, 1)
    assert stratified(everyone, 20, 1) != stratified(everyone, 20, 2)


def test_every_pair_is_as_likely_to_be_drawn_as_any_other() -> None:
    everyone = population(30, 7, 3)
    drawn = Counter(each.index for seed in range(600) for each in stratified(everyone, 8, seed))

    assert min(drawn.values()) > 0.6 * 600 * 8 / 40
    assert max(drawn.values()) < 1.4 * 600 * 8 / 40
    assert len(drawn) == 40


def test_sizes_name_the_strata() -> None:
    assert sizes(population(2, 0, 1)) == {"general/clear/none": 2, "harm/narrow/against": 1}
