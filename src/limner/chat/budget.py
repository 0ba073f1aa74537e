"""What a run will cost and has cost, in tokens and money, and the line it does not cross."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from limner.chat.endpoint import Endpoint
from limner.errors import InputError

CHARACTERS_A_TOKEN = 4  # OpenAI's rule of thumb for English


class BudgetSpent(InputError):
    """The next request could cost more than the user allowed."""


def estimate_prompt(messages: list[dict[str, Any]], endpoint: Endpoint) -> int:
    """About how many tokens a prompt has: four characters a token, and what the endpoint counts for a picture."""
    total = 0
    for message in messages:
        content = message["content"]
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        for part in parts:
            text = part.get("text", "")
            total += endpoint.picture_tokens if part["type"] == "image_url" else -(-len(text) // CHARACTERS_A_TOKEN)
        total += 4  # role and separators
    return total


@dataclass(frozen=True)
class Estimate:
    """Requests that are still to be made to one endpoint, and their tokens: expected, and at most if none fails."""

    endpoint: Endpoint
    requests: int
    prompt: int
    answer: int
    most: int

    @property
    def cost(self) -> float | None:
        """Expected money; None without a price."""
        return None if self.endpoint.price is None else self.endpoint.price.of(self.prompt, self.answer)

    @property
    def most_cost(self) -> float | None:
        """Money when every answer is as long as allowed; None without a price."""
        return None if self.endpoint.price is None else self.endpoint.price.of(self.prompt, self.most)


def show_estimates(estimates: list[Estimate]) -> str:
    """Lines for the user to agree to."""
    lines = []
    for e in estimates:
        money = "price not known" if e.cost is None else f"about {e.cost:.2f}, at most {e.most_cost:.2f}"
        lines.append(
            f"{e.endpoint.role} {e.endpoint.model} at {e.endpoint.url}: {e.requests:,} requests, "
            f"about {e.prompt:,} prompt and {e.answer:,} answer tokens (at most {e.most:,}); {money}"
        )
    return "\n".join(lines)


def check_estimates(estimates: list[Estimate], most: float | None, spent: float = 0.0) -> None:
    """Refuse, before the first request, what is expected to cost more than `most` with what was `spent` before.

    Raises BudgetSpent; InputError when there is a limit but no price to hold against it.
    """
    if most is None:
        return
    if unknown := [e.endpoint.role for e in estimates if e.requests and e.cost is None]:
        raise InputError(
            f"--max-cost needs the price of the {unknown[0]}: pass --{unknown[0]}-price IN/OUT (a million tokens)"
        )
    expected = spent + sum(e.cost or 0.0 for e in estimates)
    if expected > most:
        raise BudgetSpent(
            f"this is expected to cost {expected:.2f}, more than --max-cost {most:.2f}: "
            "raise it, or write fewer rows (--limit)"
        )


class Ledger:
    """Tokens and money spent so far, by role; threads reserve before they ask.

    most: money that all runs in one folder may spend together; None for no limit. An answer that cost more than was
    reserved for it (endpoints count tokens their own way) raises every later reservation by the same factor.
    """

    def __init__(self, most: float | None = None) -> None:
        self.most = most
        self.tokens: Counter[str] = Counter()
        self.cost = 0.0
        self._reserved = 0.0
        self._factor = 1.0
        self._lock = threading.Lock()

    def book(self, endpoint: Endpoint, prompt: int, answer: int, expected: float = 0.0) -> None:
        """Note what an answer cost; `expected` is what was thought to be the most."""
        cost = endpoint.price.of(prompt, answer) if endpoint.price else 0.0
        with self._lock:
            if expected:
                self._factor = max(self._factor, cost / expected)
            self.tokens[f"{endpoint.role} prompt"] += prompt
            self.tokens[f"{endpoint.role} answer"] += answer
            self.cost += cost

    @contextmanager
    def reserve(self, endpoint: Endpoint, prompt: int, limit: int) -> Iterator[None]:
        """Hold the most a request can cost while it is out. Raises BudgetSpent when that is too much."""
        cost = endpoint.price.of(prompt, limit) if endpoint.price else 0.0
        with self._lock:
            cost *= self._factor
            if self.most is not None and self.cost + self._reserved + cost > self.most:
                raise BudgetSpent(
                    f"the next request could take the cost over --max-cost {self.most:.2f} ({self.cost:.2f} spent): "
                    "what is written is kept, raise it to go on"
                )
            self._reserved += cost
        try:
            yield
        finally:
            with self._lock:
                self._reserved -= cost

    def summary(self) -> Mapping[str, Any]:
        """For manifests and reports."""
        return {"tokens": dict(sorted(self.tokens.items())), "cost": round(self.cost, 4)}
