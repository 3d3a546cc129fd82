"""Which of several representations a client wants, RFC 9110 section 12.5.1."""

from collections.abc import Sequence

from solon.errors import UsageError


class NotAcceptable(UsageError):
    """The client accepts none of the representations there are."""

    http_status = 406


class UnsupportedMediaType(UsageError):
    """The client sent a body of a type that the route does not take."""

    http_status = 415


def preferred(accept: str | None, offered: Sequence[str]) -> str:
    """The offered media type of the highest quality, the first of equals; raises NotAcceptable."""
    ranges = [_range(part) for part in (accept or "*/*").split(",") if part.strip()]
    qualities = [_quality(media_type, ranges) for media_type in offered]
    best = max(qualities)
    if best <= 0:
        raise NotAcceptable("none of the accepted types can be had", remedy=f"accept one of: {', '.join(offered)}")
    return offered[qualities.index(best)]


def require(content_type: str | None, taken: Sequence[str]) -> None:
    """Raises UnsupportedMediaType where the body is of another type than those taken."""
    if (content_type or "").partition(";")[0].strip().lower() not in taken:
        raise UnsupportedMediaType("the body is of another type", remedy=f"send Content-Type: {taken[0]}")


def _range(part: str) -> tuple[str, float]:
    media_type, *parameters = (piece.strip().lower() for piece in part.split(";"))
    quality = 1.0
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                quality = float(value)
            except ValueError:
                quality = 0.0
    return media_type, quality


def _quality(media_type: str, ranges: Sequence[tuple[str, float]]) -> float:
    """Of the most exact range that covers the type; 0 where none does."""
    kind = media_type.partition("/")[0]
    for wanted in (media_type, f"{kind}/*", "*/*"):
        found = [quality for covered, quality in ranges if covered == wanted]
        if found:
            return max(found)
    return 0.0
