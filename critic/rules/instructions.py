"""Instructions whose obedience can be checked without a judge: the 25 kinds of IFEval, under its ids and arguments.

    {"instruction_id_list": ["keywords:existence"], "kwargs": [{"keywords": ["sky", "sea"]}]}

Where this differs from the reference implementation: keywords are plain words, never patterns; sentences and words are
counted by our own measures, languages told by `critic.rules.languages`. A text too short to tell its language by does
not follow an instruction about language. Of a text, "at least" includes the number and "less than" does not.

Source: Zhou et al. 2023, "Instruction-following evaluation for large language models", arXiv:2311.07911.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Final, Literal

from pydantic import ConfigDict, Field, ValidationError, validate_call

from critic.rules.languages import language, p_language
from critic.rules.measures import sentences, valid_json
from solon.errors import InvalidInput

Check = Callable[[str], bool]
"""Whether a text follows one instruction."""
Relation = Literal["at least", "less than"]
Count = Annotated[int, Field(ge=0)]
Words = Annotated[str, Field(min_length=1)]

_HIGHLIGHT = re.compile(r"\*\*[^\n*]+\*\*|\*[^\n*]+\*")
_PLACEHOLDER = re.compile(r"\[.*?\]")
_BULLET = re.compile(r"^[ \t]*(?:\*[^*]|-).*$", re.MULTILINE)
_TITLE = re.compile(r"<<[^\n]+>>")
_WORD = re.compile(r"\w+")
_OPTIONS = ("My answer is yes.", "My answer is no.", "My answer is maybe.")
_MORE_LIKELY_THAN_NOT = 0.5


def check(instruction: str, arguments: Mapping[str, Any], *, field: str) -> Check:
    """The check of one instruction; arguments that are None count as left out, as published files write them.

    Raises:
        InvalidInput: an unknown instruction, or arguments that are not its own.
    """
    holds = INSTRUCTIONS.get(instruction)
    if holds is None:
        known = ", ".join(INSTRUCTIONS)
        raise InvalidInput(f"unknown instruction {instruction!r}", field=field, remedy=f"known: {known}")
    given = {name: value for name, value in arguments.items() if value is not None}
    try:
        holds("", **given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = ".".join(str(part) for part in first["loc"])
        raise InvalidInput(
            f"{instruction}: {name}: {first['msg'].lower()}", field=field, remedy="correct the arguments"
        ) from None
    return lambda text: holds(text, **given)


def checks(metadata: Mapping[str, Any], *, field: str) -> tuple[Check, ...]:
    """The checks of the instructions that a prompt's metadata lists, none where it lists none.

    Args:
        metadata: `instruction_id_list` with `kwargs`, one mapping for each; both may be left out.
        field: what error messages call the place.
    """
    ids, arguments = metadata.get("instruction_id_list", ()), metadata.get("kwargs")
    lists = _is_list(ids) and (arguments is None or _is_list(arguments))
    if not lists or not all(isinstance(each, str) for each in ids):
        raise InvalidInput("instructions are not a list of ids", field=field, remedy="write instruction_id_list")
    each_arguments = [{}] * len(ids) if arguments is None else list(arguments)
    if len(each_arguments) != len(ids) or not all(isinstance(each, Mapping) for each in each_arguments):
        raise InvalidInput("`kwargs` does not fit the list", field=field, remedy="one mapping for each instruction")
    return tuple(check(name, given, field=field) for name, given in zip(ids, each_arguments, strict=True))


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _compared(count: int, relation: Relation, number: int) -> bool:
    return count >= number if relation == "at least" else count < number


def _occurrences(text: str, word: str) -> int:
    return text.casefold().count(word.casefold())


def _has_word(text: str, word: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text, re.IGNORECASE) is not None


def _keywords_exist(text: str, /, *, keywords: list[Words]) -> bool:
    return all(_occurrences(text, word) for word in keywords)


def _keyword_frequency(text: str, /, *, keyword: Words, frequency: Count, relation: Relation) -> bool:
    return _compared(_occurrences(text, keyword), relation, frequency)


def _no_forbidden_words(text: str, /, *, forbidden_words: list[Words]) -> bool:
    return not any(_has_word(text, word) for word in forbidden_words)


def _letter_frequency(text: str, /, *, letter: Words, let_frequency: Count, let_relation: Relation) -> bool:
    return _compared(text.lower().count(letter.lower()), let_relation, let_frequency)


def _in_language(text: str, /, *, language: Words) -> bool:
    return p_language(text, language) >= _MORE_LIKELY_THAN_NOT


def _number_of_sentences(text: str, /, *, num_sentences: Count, relation: Relation) -> bool:
    return _compared(sentences(text), relation, num_sentences)


def _number_of_words(text: str, /, *, num_words: Count, relation: Relation) -> bool:
    return _compared(len(_WORD.findall(text)), relation, num_words)


def _number_of_paragraphs(text: str, /, *, num_paragraphs: Count) -> bool:
    """Paragraphs stand between `***`; only the first and last piece may be empty."""
    pieces = [piece.strip() for piece in text.split("***")]
    return all(pieces[1:-1]) and sum(bool(piece) for piece in pieces) == num_paragraphs


def _nth_paragraph_first_word(
    text: str, /, *, num_paragraphs: Count, nth_paragraph: Annotated[int, Field(ge=1)], first_word: Words
) -> bool:
    pieces = [piece for piece in text.split("\n\n") if piece.strip()]
    if len(pieces) != num_paragraphs or nth_paragraph > len(pieces):
        return False
    first = pieces[nth_paragraph - 1].split()[0].lstrip("'\"(*")
    return re.split(r"[.,?!'\")*:;]", first)[0].lower() == first_word.lower()


def _postscript(text: str, /, *, postscript_marker: Words) -> bool:
    letters = [re.escape(letter) for letter in re.findall(r"\w", postscript_marker)]
    return re.search(r"(?<!\w)" + r"\.?[ \t]?".join(letters) + r"(?!\w)", text, re.IGNORECASE) is not None


def _placeholders(text: str, /, *, num_placeholders: Count) -> bool:
    return len(_PLACEHOLDER.findall(text)) >= num_placeholders


def _bullet_lists(text: str, /, *, num_bullets: Count) -> bool:
    return len(_BULLET.findall(text)) == num_bullets


def _highlighted_sections(text: str, /, *, num_highlights: Count) -> bool:
    found = [match for match in _HIGHLIGHT.findall(text) if match.strip("* \t")]
    return len(found) >= num_highlights


def _multiple_sections(text: str, /, *, section_spliter: Words, num_sections: Count) -> bool:
    return len(re.findall(rf"\b{re.escape(section_spliter)}\s?\d+", text)) >= num_sections


def _json(text: str, /) -> bool:
    return valid_json(text)


def _title(text: str, /) -> bool:
    return any(match.strip("<> \t") for match in _TITLE.findall(text))


def _constrained_response(text: str, /) -> bool:
    return any(option in text for option in _OPTIONS)


def _repeat_prompt(text: str, /, *, prompt_to_repeat: Words) -> bool:
    return text.strip().lower().startswith(prompt_to_repeat.strip().lower())


def _two_responses(text: str, /) -> bool:
    """Two different responses, `******` between them and perhaps around them."""
    pieces = [piece.strip() for piece in text.split("******")]
    given = [piece for piece in pieces if piece]
    return all(pieces[1:-1]) and len(given) == 2 and given[0] != given[1]


def _capitals_in_english(text: str, /) -> bool:
    return text.isupper() and language(text) == "en"


def _lowercase_in_english(text: str, /) -> bool:
    return text.islower() and language(text) == "en"


def _capital_words(text: str, /, *, capital_frequency: Count, capital_relation: Relation) -> bool:
    return _compared(sum(word.isupper() for word in _WORD.findall(text)), capital_relation, capital_frequency)


def _ends_with(text: str, /, *, end_phrase: Words) -> bool:
    return text.strip().strip('"').lower().endswith(end_phrase.strip().lower())


def _quotation(text: str, /) -> bool:
    stripped = text.strip()
    return len(stripped) > 1 and stripped[0] == stripped[-1] == '"'


def _no_comma(text: str, /) -> bool:
    return "," not in text


_strict = validate_call(config=ConfigDict(strict=True))

INSTRUCTIONS: Final[Mapping[str, Callable[..., bool]]] = {
    name: _strict(holds)
    for name, holds in {
        "keywords:existence": _keywords_exist,
        "keywords:frequency": _keyword_frequency,
        "keywords:forbidden_words": _no_forbidden_words,
        "keywords:letter_frequency": _letter_frequency,
        "language:response_language": _in_language,
        "length_constraints:number_sentences": _number_of_sentences,
        "length_constraints:number_paragraphs": _number_of_paragraphs,
        "length_constraints:number_words": _number_of_words,
        "length_constraints:nth_paragraph_first_word": _nth_paragraph_first_word,
        "detectable_content:postscript": _postscript,
        "detectable_content:number_placeholders": _placeholders,
        "detectable_format:number_bullet_lists": _bullet_lists,
        "detectable_format:title": _title,
        "detectable_format:constrained_response": _constrained_response,
        "detectable_format:number_highlighted_sections": _highlighted_sections,
        "detectable_format:multiple_sections": _multiple_sections,
        "detectable_format:json_format": _json,
        "combination:repeat_prompt": _repeat_prompt,
        "combination:two_responses": _two_responses,
        "change_case:english_capital": _capitals_in_english,
        "change_case:english_lowercase": _lowercase_in_english,
        "change_case:capital_word_frequency": _capital_words,
        "startend:end_checker": _ends_with,
        "startend:quotation": _quotation,
        "punctuation:no_comma": _no_comma,
    }.items()
}
"""By id: from the text and the arguments to whether it is followed. Arguments are checked strictly."""
