"""The corpus of malformed files: each begins with the errors that it must give, letter by letter."""

from pathlib import Path

import pytest

from constitution.document import check, parse
from constitution.source import MAX_BYTES
from solon.errors import InvalidInput

CORPUS = sorted((Path(__file__).parent / "malformed").glob("*.yaml"))
_EXPECT = b"# expect: "


def expected(raw: bytes) -> list[str]:
    """The errors that the first lines of a file of the corpus announce."""
    return [line.removeprefix(_EXPECT).decode() for line in raw.split(b"\n") if line.startswith(_EXPECT)]


def problems(raw: bytes) -> list[str]:
    return [str(problem) for problem in check(raw)[1]]


def test_the_corpus_is_large() -> None:
    assert len(CORPUS) >= 100


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_a_malformed_file_gives_exactly_the_errors_it_announces(path: Path) -> None:
    raw = path.read_bytes()

    assert expected(raw)
    assert problems(raw) == expected(raw)


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_every_error_says_what_to_do(path: Path) -> None:
    found = check(path.read_bytes())[1]

    assert all(problem.hint and problem.severity == "error" for problem in found)
    assert all(problem.field is not None for problem in found) or path.stem in WHOLE_FILE


WHOLE_FILE = {
    *("a-list", "a-word", "empty", "only-comments", "invalid-utf8", "unprintable-character"),
    *("two-documents", "directive", "alias-as-key", "complex-key"),
}
"""Errors at the root of the document, where there is no field to name."""


def test_more_than_a_mebibyte_is_refused() -> None:
    raw = b"format: constitution/v1\n#" + b"x" * MAX_BYTES

    assert problems(raw) == ["line 1, column 1: the file has more than 1048576 bytes (split the constitution)"]


def test_more_parts_than_a_constitution_needs_are_refused_before_any_is_built() -> None:
    (problem,) = problems(b"cases: [" + b"a," * 10_001 + b"]")

    assert "more than 10000 keys and values (split the constitution)" in problem


def test_another_encoding_is_refused() -> None:
    assert problems("format: constitution/v1".encode("utf-16")) == [
        "line 1, column 1: the file is not valid UTF-8 (save it as UTF-8)"
    ]


def test_a_byte_order_mark_is_no_mistake() -> None:
    assert problems("\ufeffformat: x\n".encode())[0].startswith("line 1, column 1: format")


def test_the_error_that_is_raised_has_place_field_remedy_and_the_number_of_others() -> None:
    raw = next(path for path in CORPUS if path.stem == "several-problems").read_bytes()

    with pytest.raises(InvalidInput, match=r"bad\.yaml, line 1, column 1: .*add it; 3 more") as raised:
        parse(raw, "bad.yaml")

    assert raised.value.field == "title"
