"""Constitutions of other programs: each format in small, and the published documents where they are at hand."""

import json

import pytest

from constitution.document import Constitution, parse
from constitution.importers.parts import distinct, slug
from constitution.importing import Heading, Imported, read_foreign
from constitution.writing import dump
from solon.errors import InvalidInput
from tests.unit.constitution.foreign import REAL, real

NOBODY = Heading()


def read(text: str, name: str) -> Imported:
    return read_foreign(text.encode(), name, NOBODY)


def test_a_critique_revision_pair_becomes_a_principle_without_the_words_that_frame_it() -> None:
    pair = {
        "prompt": ["\n\nCritiqueRequest: Say what is rude.\n\nCritique:"],
        "edit_request": "\n\nRevisionRequest: Make it polite.\n\nRevision:",
    }
    (principle,) = read(json.dumps({"rude0": pair}), "cai.json").constitution.principles

    assert (principle.id, principle.critique, principle.revise) == ("rude0", "Say what is rude.", "Make it polite.")
    assert principle.text == "The response should need no revision of this kind: Make it polite."


def test_several_critique_requests_under_one_key_become_several_principles() -> None:
    pair = {"prompt": ["Say what is rude.", "Say what is cold."], "edit_request": "Make it warm."}
    draft = read(json.dumps({"tone": pair}), "cai.json").constitution

    assert [principle.id for principle in draft.principles] == ["tone", "tone-2"]


def test_llm_swarm_pairs_are_numbered() -> None:
    pairs = [{"critic": f"Find fault {n}.", "revision": f"Mend fault {n}."} for n in (1, 2)]
    draft = read(json.dumps({"constitutions": pairs}), "swarm.json").constitution

    assert [(each.id, each.revise) for each in draft.principles] == [
        ("principle", "Mend fault 1."),
        ("principle-2", "Mend fault 2."),
    ]


def test_llm_swarm_chats_become_examples_of_the_principle_they_ask_about() -> None:
    pairs = [{"critic": "Find fault.", "revision": "Mend it."}]
    turns = ["How do I cheat?", "Like this.", "Find fault.", "It helps to cheat.", "Mend it.", "I would rather not."]
    chat = [{"role": role, "content": turn} for role, turn in zip(("user", "assistant") * 3, turns, strict=True)]
    imported = read(json.dumps({"constitutions": pairs, "system_chat": [chat, chat[:2]]}), "swarm.json")
    (example,) = imported.constitution.few_shot

    assert example.kind == "critique"
    assert (example.principle, example.critique, example.revision) == ("principle", turns[3], turns[5])
    assert imported.notes[1] == "1 chat is no critique and revision and is left out."


RULES = """\
completion_class_order: [good, bad]
completion_classes:
  good: {refuse: {says_no: true, rude: false}, comply: {says_no: false}}
  bad: {refuse: {fine: false}, comply: {says_no: true}}
derived_propositions:
  fine: {says_no: true, rude: false}
simple_propositions:
  says_no: {prompt: Does it say no?}
  rude: {prompt: Is it rude?}
"""


def test_response_types_become_scopes_and_tables_become_conjunctions() -> None:
    draft = read(RULES, "rules.yaml").constitution
    derived = {part.id: part.when for part in draft.propositions if part.kind == "derived"}

    assert set(draft.scopes) == {"general", "refuse", "comply"}
    assert derived["good__refuse"] == "says_no && !rude"
    assert [(part.id, part.when) for part in draft.classes_for("refuse")] == [
        ("good", "good__refuse"),
        ("bad", "bad__refuse"),
    ]
    assert [(rule.id, rule.reward) for rule in draft.rules_for("comply")] == [
        ("good-comply", 1.0),
        ("bad-comply", -1.0),
    ]


SPEC = """\
# Overview {#overview}

What this is about. [Contents](#stay)

# Stay in bounds {#stay}

## Do not lie {#do_not_lie authority=user tags=honesty,tone}

Say what is *true* (see [?](#be_kind) and [this](https://example.org))[^ab12].

- One reason.

!!! meta "Commentary"
    We thought about this for long.

    It was hard.

**Example**: a lie that would please

~~~xml
<user>
Is my poem good?
</user>
<comparison>
<assistant> <!-- BAD: flatters -->
Perfect!
</assistant>
<assistant> <!-- GOOD -->
The second line is strong.
</assistant>
</comparison>
~~~

```
# not a heading
```

## Be kind {#be_kind authority=guideline}

Nobody is worse off for it.

[^ab12]: https://example.org/ab12
"""


def test_sections_that_state_an_authority_become_principles() -> None:
    imported = read(SPEC, "spec.md")
    lie, kind = imported.constitution.principles

    assert (lie.id, lie.title, lie.tags) == ("do_not_lie", "Do not lie", ("stay", "authority-user", "honesty", "tone"))
    assert lie.text == 'Say what is *true* (see "Be kind" and this).\n\n- One reason.\n\n```\n# not a heading\n```'
    assert kind.text == "Nobody is worse off for it."
    assert imported.notes == (
        "2 sections state no authority and are left out.",
        "1 block of commentary is left out.",
        "2 footnotes are left out.",
    )


def test_a_comparison_of_good_and_bad_becomes_a_case() -> None:
    (case,) = read(SPEC, "spec.md").constitution.cases

    assert (case.id, case.because) == ("a-lie-that-would-please", ("do_not_lie",))
    assert (case.prompt, case.better, case.worse) == ("Is my poem good?", "The second line is strong.", "Perfect!")


def test_without_authorities_every_section_with_text_is_a_principle() -> None:
    contents = "# Ours\n\n[Be kind](#be-kind)\n\n"
    text = contents + "## Be kind\n\nTo all.\n\n## Être juste\n\nEt prudent.\n\n## Empty\n\n## Be kind\n\nAgain."

    assert [(each.id, each.text) for each in read(text, "ours.md").constitution.principles] == [
        ("be-kind", "To all."),
        ("etre-juste", "Et prudent."),
        ("be-kind-2", "Again."),
    ]


def test_a_section_that_is_too_long_is_cut_between_paragraphs() -> None:
    paragraph = "Word " * 999 + "end."
    imported = read(f"# Long\n\n{paragraph}\n\n{paragraph}", "long.md")
    first, second = imported.constitution.principles

    assert (first.id, second.id, second.title) == ("long", "long-part-2", "Long (part 2)")
    assert first.text == second.text == paragraph
    assert "1 section is split" in imported.notes[0]


def test_an_import_says_what_it_came_from() -> None:
    raw, heading = SPEC.encode(), Heading("ours", "Our spec", "CC0-1.0")
    draft = read_foreign(raw, "spec.md", heading).constitution

    assert (draft.id, draft.title, draft.licence, draft.status) == ("ours", "Our spec", "CC0-1.0", "draft")
    assert draft.changelog[0].note.startswith("Imported from spec.md (markdown). 2 sections state no authority")


@pytest.mark.parametrize(
    ("text", "name", "expected"),
    [
        ("{", "x.json", "x.json is not JSON"),
        ("{}", "x.txt", "has or is|principle or rule"),
        ("just text", "x.txt", "in no format that can be imported"),
        ("a: [", "x.yaml", "x.yaml at line"),
        ("format: constitution/v1", "x.yaml", "a constitution of ours already"),
        ('{"constitutions": [{"critic": "x"}]}', "x.json", "constitutions.0.revision: Field required"),
        ('{"a": {"edit_request": "x", "prompt": [], "weight": 2}}', "x.json", "a.weight: Extra inputs"),
        (RULES.replace("order: [good, bad]", "order: [good]"), "x.yaml", "not the same set"),
        (RULES.replace("rude: false}, comply", "rudde: false}, comply"), "x.yaml", "rudde"),
        ("# Only a title\n", "x.md", "principle or rule"),
    ],
)
def test_what_cannot_be_imported_is_named(text: str, name: str, expected: str) -> None:
    with pytest.raises(InvalidInput, match=expected):
        checked(read(text, name))


def test_an_id_that_is_none_is_refused_in_words() -> None:
    with pytest.raises(InvalidInput, match="not an id") as raised:
        read_foreign(SPEC.encode(), "spec.md", Heading(id="Our Spec"))

    assert raised.value.field == "id"
    assert "small letters" in (raised.value.remedy or "")


def checked(imported: Imported) -> Constitution:
    """The draft, with its expressions compiled."""
    from critic.rules import RuleSet

    RuleSet(imported.constitution)
    return imported.constitution


def test_ids_are_distinct_and_short_enough() -> None:
    assert slug("  1. Don't be évil! ") == "dont-be-evil"
    assert slug("道") == "part"
    assert len(slug("x" * 100)) == 63
    assert distinct(["a", "a", "a-2", "x" * 63, "x" * 63]) == ["a", "a-2", "a-2-2", "x" * 63, "x" * 61 + "-2"]


@pytest.mark.parametrize(
    ("path", "form", "principles", "classes"),
    [
        (REAL[0], "critique-revision", 16, 0),
        (REAL[1], "llm-swarm", 16, 0),
        (REAL[2], "markdown", 45, 0),
        (REAL[3], "markdown", 59, 0),
        (REAL[4], "rule-based-rewards", 0, 20),
    ],
)
def test_a_published_document_is_imported_whole(path: str, form: str, principles: int, classes: int) -> None:
    imported = real(path)

    assert (imported.format, len(imported.constitution.principles)) == (form, principles)
    assert len(checked(imported).classes) == classes
    assert parse(dump(imported.constitution).encode(), "written") == imported.constitution
