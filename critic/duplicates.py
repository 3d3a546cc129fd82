"""Pairs that say again what an earlier pair says: the same texts, or almost the same (MinHash and banding).

Two pairs are near-duplicates when their prompts are and their completions are, in whichever order these are listed. The
first one is kept. A pair is compared with kept pairs only, so nothing is found when the result is searched again.

Memory: some 4 KB for each kept pair, however long its texts are.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from critic.wording import Index, Sketch, index, shingles, sketch
from solon.records import Discard, PreferencePair

DUPLICATE: Final = "duplicate"
"""Same conversation and completions, same label."""
CONTRADICTION: Final = "contradicting_duplicate"
"""Same conversation and completions, another label."""
NEAR_DUPLICATE: Final = "near_duplicate"
THRESHOLD: Final = 0.8


@dataclass(frozen=True, slots=True)
class _Kept:
    id: str
    prompt: Sketch
    completions: Sketch


@dataclass
class Deduplicator:
    """Remembers the pairs that were kept."""

    threshold: float = THRESHOLD
    """Least estimated Jaccard similarity, of prompts and of completions, at which pairs are the same; 1 finds exact
    duplicates only."""
    _exact: dict[bytes, tuple[str, bytes]] = field(default_factory=dict[bytes, tuple[str, bytes]])
    _kept: list[_Kept] = field(default_factory=list[_Kept])
    _index: Index = field(init=False)

    def __post_init__(self) -> None:
        self._index = index(self.threshold)

    def check(self, pair: PreferencePair) -> Discard | None:
        """Why the pair is not kept; None keeps and remembers it."""
        same, label = _digest(pair), _digest_of(str(pair.status), pair.chosen_text or "")
        if (known := self._exact.get(same)) is not None:
            earlier, its_label = known
            return _discard(pair, DUPLICATE if label == its_label else CONTRADICTION, earlier)
        if self.threshold < 1 and (near := self._near(pair)) is not None:
            return _discard(pair, NEAR_DUPLICATE, near)
        self._exact[same] = (pair.id, label)
        return None

    def _near(self, pair: PreferencePair) -> str | None:
        """Id of the first kept pair that says almost the same; without one the pair is added."""
        asked = shingles("\n".join(message.content for message in pair.prompt.messages))
        said = shingles(pair.a.text) | shingles(pair.b.text)
        # Where both parts are alike, the whole is: candidates are found by the whole.
        whole = sketch([f"p {each}" for each in asked] + [f"c {each}" for each in said])
        found = _Kept(pair.id, sketch(asked), sketch(said))
        for number in sorted(self._index.query(whole)):
            other = self._kept[number]
            alike = min(found.prompt.jaccard(other.prompt), found.completions.jaccard(other.completions))
            if alike >= self.threshold:
                return other.id
        self._index.insert(len(self._kept), whole)
        self._kept.append(found)
        return None


def deduplicated(pairs: Iterable[PreferencePair], threshold: float = THRESHOLD) -> Iterator[PreferencePair | Discard]:
    """Each pair, or why it is left out, in order."""
    seen = Deduplicator(threshold)
    for pair in pairs:
        yield seen.check(pair) or pair


def _discard(pair: PreferencePair, reason: str, earlier: str) -> Discard:
    return Discard(prompt_id=pair.prompt.id, reason=reason, detail=f"of {earlier}", pair=pair)


def _digest(pair: PreferencePair) -> bytes:
    turns = [part for message in pair.prompt.messages for part in (message.role, message.content)]
    return _digest_of(*turns, "", *sorted((pair.a.text, pair.b.text)))


def _digest_of(*texts: str) -> bytes:
    hashed = hashlib.blake2b(digest_size=16)
    for text in texts:
        encoded = text.encode("utf-8", "surrogatepass")
        hashed.update(len(encoded).to_bytes(8, "big") + encoded)
    return hashed.digest()
