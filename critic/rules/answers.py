"""Verifiable answers: what a completion finally answers, and whether that is the expected answer.

The last statement counts, as a solution may correct itself: the last `\\boxed{...}`, else the last `#### ...` line,
else the last "answer is ..." or "answer: ...", else the last number. Numbers are compared exactly, as fractions:
`1,234.50`, `\\frac{1}{2}`, `0.5`, `50%` (a per cent sign, like a currency sign, is a unit and is dropped). Everything
else is compared as text without case, punctuation and spaces. No expression is evaluated: a completion is untrusted.
"""

import re
from fractions import Fraction

_HASHES = re.compile(r"^[ \t]*####[ \t]*(\S.*)$", re.MULTILINE)
_STATED = re.compile(
    r"\banswer\b(?:[ \t]+(?:is|are|equals|should be)\b[ \t]*:?|[ \t]*[:=])[ \t*]*([^\n]+)", re.IGNORECASE
)
_NUMBER = re.compile(
    r"(?<![\w.])-?(?:(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+)"  # 1,234.50 and .5
    r"(?:[eE][+-]?\d{1,3})?(?:\s*/\s*\d+)?(?![\d/]|[eE]\d)"
)
_LATEX_FRACTION = re.compile(r"\\[dt]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}")
_LATEX_WRAPPER = re.compile(r"\\(?:text|mathrm|mathbf|mbox)\s*\{([^{}]*)\}")
_LATEX_SPACE = re.compile(r"\\(?:left|right|displaystyle)\b|\\[!,;: ]|~")
_MOST_DIGITS = 400


def final_answer(text: str) -> str | None:
    """What the text finally answers, as it is written; None when it states nothing and holds no number."""
    boxed = _last_boxed(text)
    if boxed is not None:
        return boxed
    for form in (_HASHES, _STATED):
        stated = form.findall(text)
        if stated:
            return stated[-1].strip()
    numbers = _NUMBER.findall(_plain(text))
    return numbers[-1] if numbers else None


def is_correct(text: str, expected: str) -> bool:
    """Whether the text's final answer is the expected one.

    Args:
        expected: an answer, or a worked solution that marks its own with `\\boxed{...}` or `####`.
    """
    found = final_answer(text)
    return found is not None and same_answer(found, _marked(expected))


def same_answer(found: str, expected: str) -> bool:
    """Whether two answers are equal, as numbers where `expected` is a number and as text otherwise."""
    value = number(expected)
    return _text(found) == _text(expected) if value is None else _value_in(found) == value


def number(text: str) -> Fraction | None:
    """The number that the whole text is, currency and per cent signs aside; None when it is not one."""
    plain = _plain(text).strip().strip("$€£% \t.*")
    return _fraction(plain) if _NUMBER.fullmatch(plain) else None


def _value_in(found: str) -> Fraction | None:
    """The number that an answer in words comes to: after the last `=`, else the first one."""
    whole = number(found)
    if whole is not None:
        return whole
    numbers = _NUMBER.findall(_plain(found).rpartition("=")[2])
    return _fraction(numbers[0]) if numbers else None


def _fraction(text: str) -> Fraction | None:
    if len(text) > _MOST_DIGITS:
        return None
    above, _, below = text.replace(",", "").replace(" ", "").partition("/")
    divisor = Fraction(below) if below else Fraction(1)
    return Fraction(above) / divisor if divisor else None


def _plain(text: str) -> str:
    """`text` with LaTeX fractions as a/b, wrappers and spacing commands dropped."""
    text = _LATEX_SPACE.sub("", _LATEX_WRAPPER.sub(r"\1", text)).replace("\\$", "$").replace("\\%", "%")
    return _LATEX_FRACTION.sub(r"\1/\2", text).replace("{", "").replace("}", "").replace("\u2212", "-")


def _text(answer: str) -> str:
    return "".join(char for char in _plain(answer).casefold() if char.isalnum() or char in "+-/^=<>")


def _marked(expected: str) -> str:
    boxed = _last_boxed(expected)
    hashes = _HASHES.findall(expected)
    return boxed if boxed is not None else hashes[-1].strip() if hashes else expected


def _last_boxed(text: str) -> str | None:
    """The contents of the last `\\boxed{...}`, braces balanced; None when there is none that ends."""
    start = text.rfind("\\boxed{")
    if start < 0:
        return None
    depth = 0
    for place in range(start + len("\\boxed"), len(text)):
        depth += (text[place] == "{") - (text[place] == "}")
        if depth == 0:
            return text[start + len("\\boxed{") : place].strip()
    return None
