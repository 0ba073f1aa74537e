"""Asking one endpoint for JSON: from the journal if it was asked before, within the budget if not."""

from __future__ import annotations

import datetime
import threading
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel

from limner.chat.budget import Ledger, estimate_prompt
from limner.chat.endpoint import ChatClient, Completion, Unsuitable
from limner.chat.journal import Journal, request_key, without_pictures
from limner.chat.structured import Unreadable, read_answer

Form = TypeVar("Form", bound=BaseModel)
_AGAIN = "That was not usable ({why}). Answer again with the one JSON object that was asked for, and nothing else."


class Refused(Exception):
    """The model did not give a usable answer; the message says what it did instead."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """A request: its messages, the most tokens of an answer, and what it is for (`row` and `stage`, kept with it)."""

    messages: list[dict[str, Any]]
    limit: int
    row: str
    stage: str
    temperature: float = 0.7


class Session:
    """One endpoint, one journal, one ledger; used by many threads.

    attempts: how often an unusable answer is sent back to its writer before it counts as refused.
    """

    def __init__(self, client: ChatClient, journal: Journal, ledger: Ledger, attempts: int = 3) -> None:
        self.client, self.journal, self.ledger, self.attempts = client, journal, ledger, attempts
        self.asked = 0  # answers that were paid for in this run
        self._lock = threading.Lock()

    def ask(self, question: Question, form: type[Form]) -> Form:
        """The answer as `form`. Raises Refused; and what `ChatClient.post` and `Ledger.reserve` raise."""
        messages = list(question.messages)
        why = last = ""
        for _ in range(self.attempts):
            completion = self._complete(messages, question)
            if completion.refusal:
                raise Refused(f"{self.client.endpoint.role} refused: {_line(completion.refusal)}")
            try:
                return read_answer(completion.text, form)
            except Unreadable as error:
                why = "it was cut off at the length limit" if completion.finish == "length" else str(error)
            last = completion.text
            messages = [
                *question.messages,
                {"role": "assistant", "content": last},
                {"role": "user", "content": _AGAIN.format(why=why)},
            ]
        raise Refused(
            f"{self.client.endpoint.role} gave no usable answer in {self.attempts} attempts ({why}): {_line(last)}"
        )

    def _complete(self, messages: list[dict[str, Any]], question: Question) -> Completion:
        end = self.client.endpoint
        body = end.body(messages, question.limit, question.temperature)
        key = request_key(body)
        kept = self.journal.get(key)
        if kept is not None:
            if "unsuitable" in kept:
                raise Refused(kept["unsuitable"])
            return Completion.of(kept["answer"])
        prompt = estimate_prompt(messages, end)
        note = {"role": end.role, "model": end.model, "row": question.row, "stage": question.stage}

        def lost(reason: str) -> None:
            self.ledger.book(end, prompt, question.limit)
            self.journal.add({"lost": reason, **note, "tokens": [prompt, question.limit], "at": _now()})

        with self.ledger.reserve(end, prompt, question.limit):
            try:
                raw = self.client.post(body, prompt + question.limit, lost)
            except Unsuitable as error:
                said = f"{end.role} refused: {_line(str(error))}"
                self.journal.add({"key": key, **note, "unsuitable": said, "at": _now()})
                raise Refused(said) from error
            self.journal.add({"key": key, **note, "at": _now(), "request": without_pictures(body), "answer": raw})
        completion = Completion.of(raw)
        self.ledger.book(end, *used(completion, prompt), end.price.of(prompt, question.limit) if end.price else 0.0)
        with self._lock:
            self.asked += 1
        return completion


def used(completion: Completion, prompt: int) -> tuple[int, int]:
    """Prompt and answer tokens of an answer, as counted by the endpoint or, when it does not say, estimated."""
    answer = completion.answer_tokens if completion.answer_tokens is not None else -(-len(completion.text) // 4)
    return completion.prompt_tokens if completion.prompt_tokens is not None else prompt, answer


def book_journal(journal: Journal, ledger: Ledger, sessions: list[Session]) -> set[tuple[str, str]]:
    """Enter what earlier runs in this journal paid for, and return which (row, stage) have an answer."""
    ends = {session.client.endpoint.role: session.client.endpoint for session in sessions}
    answered: set[tuple[str, str]] = set()
    for record in journal.records():
        end = ends.get(record["role"])
        if end is None:
            continue
        if "lost" in record:
            ledger.book(end, *record["tokens"])
            continue
        answered.add((record["row"], record["stage"]))
        if "answer" in record:
            prompt = estimate_prompt(record["request"]["messages"], end)
            ledger.book(end, *used(Completion.of(record["answer"]), prompt))
    return answered


def _line(text: str) -> str:
    return " ".join(text.split())[:160]


def _now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
