"""What judging cost."""

from dataclasses import dataclass


@dataclass
class Usage:
    """What judging cost, added up by the calls that were given it."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    judge_calls: int = 0
    cache_hits: int = 0

    def add(self, other: "Usage") -> None:
        """Add another account to this one."""
        self.prompt_tokens += other.prompt_tokens
        self.completion_tokens += other.completion_tokens
        self.judge_calls += other.judge_calls
        self.cache_hits += other.cache_hits
