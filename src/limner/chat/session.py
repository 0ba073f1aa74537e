"""Asking one endpoint for JSON: from the journal if it was asked before, within the budget if not."""

from __future__ import annotations

import datetime
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from pydantic import BaseModel

from limner.chat.budget import Ledger, estimate_prompt
from limner.chat.endpoint import ChatClient, Completion, Endpoint, Price, Unsuitable
from limner.chat.journal import Journal, request_key, without_pictures
from limner.chat.structured import Unreadable, read_answer
from limner.errors import InputError

Form = TypeVar("Form", bound=BaseModel)
_AGAIN = "That was not usable ({why}). Answer again with the one JSON object that was asked for, and nothing else."


class Refused(Exception):
    """The model did not give a usable answer; the message says what it did instead."""


class _NotKept(Exception):
    """The journal does not hold this answer."""


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
        return self._converse(question, form, self._complete)

    def is_kept(self, question: Question, form: type[Form]) -> bool:
        """Whether `ask` would send nothing: the journal holds the answer, or the refusal, to this very request."""

        def kept(messages: list[dict[str, Any]], question: Question) -> Completion:
            completion = self._kept(request_key(self._body(messages, question)))
            if completion is None:
                raise _NotKept
            return completion

        try:
            self._converse(question, form, kept)
        except Refused:
            return True
        except _NotKept:
            return False
        return True

    def _converse(
        self,
        question: Question,
        form: type[Form],
        complete: Callable[[list[dict[str, Any]], Question], Completion],
    ) -> Form:
        """Ask, and ask again after an answer that is not usable, with `complete` for every single request."""
        messages = list(question.messages)
        why = last = ""
        for _ in range(self.attempts):
            completion = complete(messages, question)
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

    def _body(self, messages: list[dict[str, Any]], question: Question) -> dict[str, Any]:
        return self.client.endpoint.body(messages, question.limit, question.temperature)

    def _kept(self, key: str) -> Completion | None:
        """The answer with this key; None where the journal has none. Raises Refused for a refusal."""
        kept = self.journal.get(key)
        if kept is None:
            return None
        if "unsuitable" in kept:
            raise Refused(kept["unsuitable"])
        return Completion.of(kept["answer"])

    def _complete(self, messages: list[dict[str, Any]], question: Question) -> Completion:
        end, body = self.client.endpoint, self._body(messages, question)
        key = request_key(body)
        kept = self._kept(key)
        if kept is not None:
            return kept
        prompt = estimate_prompt(messages, end)
        note: dict[str, Any] = {"role": end.role, "model": end.model, "row": question.row, "stage": question.stage}
        if end.price is not None:
            note["price"] = [end.price.prompt, end.price.answer]

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
    """Enter what earlier runs in this journal paid for, and return which (row, stage) these models have answered.

    Every answer is booked at the price it was asked at, whichever model gave it; where the journal does not say, at
    today's price of the same model. InputError where neither is known and the ledger has a limit.
    """
    ends = {session.client.endpoint.role: session.client.endpoint for session in sessions}
    answered: set[tuple[str, str]] = set()
    for record in journal.records():
        end = ends.get(record["role"])
        if end is None:
            continue
        if "unsuitable" not in record:
            then = _priced(end, record)
            if then.price is None and then.model != end.model and ledger.most is not None:
                raise InputError(
                    f"{journal.path} holds answers of {then.model} at a price not known, so no limit can be kept in "
                    "it: leave --max-cost out, or give another --out"
                )
            if "lost" in record:
                ledger.book(then, *record["tokens"])
                continue
            prompt = estimate_prompt(record["request"]["messages"], end)
            ledger.book(then, *used(Completion.of(record["answer"]), prompt))
        if record["model"] == end.model:
            answered.add((record["row"], record["stage"]))
    return answered


def _priced(end: Endpoint, record: dict[str, Any]) -> Endpoint:
    """The endpoint as it was when the record was written: its model, and the price where that is known."""
    if "price" in record:
        prompt, answer = record["price"]
        return replace(end, model=record["model"], price=Price(prompt=prompt, answer=answer))
    return replace(end, model=record["model"], price=end.price if record["model"] == end.model else None)


def _line(text: str) -> str:
    return " ".join(text.split())[:160]


def _now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
