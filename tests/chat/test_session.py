"""Journal, budget, JSON and the session that ties them together."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from chat.model_server import ModelServer, cut_off, saying
from limner.chat.budget import BudgetSpent, Estimate, Ledger, check_estimates, estimate_prompt, show_estimates
from limner.chat.endpoint import ChatClient, Endpoint, Price
from limner.chat.journal import Journal, request_key
from limner.chat.prompts import FOLDER, load_prompt
from limner.chat.session import Question, Refused, Session, book_journal
from limner.chat.structured import Unreadable, read_answer
from limner.errors import InputError


class Caption(BaseModel):
    caption: str


GOOD = '{"caption": "a face, {smiling},"}'


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        f"```json\n{GOOD}\n```",
        f"Sure! Here you are: {GOOD} Anything else?",
        '{"caption": "a face, {smiling},",}',
        f"\ufeff {GOOD}\n".replace("\ufeff", ""),
    ],
)
def test_slips_around_json_are_mended(text: str) -> None:
    assert read_answer(text, Caption).caption == "a face, {smiling},"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("I cannot help with that.", "not one JSON object"),
        ('{"caption": "a face', "not one JSON object"),
        ('["a face"]', "not one JSON object"),
        ('{"caption": 3}', "caption: Input should be a valid string"),
        ('{"Caption": "a"}', "caption: Field required"),
        ("{'caption': 'a'}", "not one JSON object"),
        ('{"caption": NaN}', "not one JSON object"),
        ("", "not one JSON object"),
    ],
)
def test_lies_about_json_are_not_believed(text: str, why: str) -> None:
    with pytest.raises(Unreadable, match=why):
        read_answer(text, Caption)


def test_a_journal_survives_half_a_line(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    with Journal(path) as journal:
        journal.add({"key": "1", "answer": "é"})
        journal.add({"note": 1})
        journal.add({"key": "2", "answer": "b"})
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"key": "3", "ans')
    with Journal(path) as journal:
        assert len(journal) == 2 and "3" not in journal
        assert journal.get("1") == {"key": "1", "answer": "é"} and journal.get("3") is None
        journal.add({"key": "3", "answer": "c"})
        assert journal.get("3") == {"key": "3", "answer": "c"} and journal.get("2")["answer"] == "b"  # type: ignore[index]
    assert path.read_bytes().startswith(whole) and len(path.read_text().splitlines()) == 4
    path.write_bytes(b"rubbish\n" + whole)
    with pytest.raises(InputError, match="line 1 is damaged"):
        Journal(path)


def test_two_runs_do_not_write_one_journal(tmp_path: Path) -> None:
    with Journal(tmp_path / "a.jsonl"), pytest.raises(InputError, match="by another run"):
        Journal(tmp_path / "a.jsonl")
    Journal(tmp_path / "a.jsonl").close()


def test_prompts_know_what_they_need(tmp_path: Path) -> None:
    prompt = load_prompt("caption")
    system, user = prompt.messages("data:image/jpeg;base64,AA")
    assert system["role"] == "system" and user["content"][1]["image_url"]["url"].startswith("data:")
    assert prompt.version == "1" and len(list(FOLDER.glob("*.txt"))) == 6
    with pytest.raises(InputError, match="asks for 'caption'"):
        load_prompt("refine").messages(attributes="")
    with pytest.raises(InputError, match="there is no prompt 'nothing'"):
        load_prompt("nothing")
    (tmp_path / "caption.txt").write_text("version: 7\n--- system\na\n--- user\n$$5 b")
    mine = load_prompt("caption", tmp_path)
    assert mine.version == "7" and mine.digest != prompt.digest and mine.messages()[1]["content"] == "$5 b"
    (tmp_path / "caption.txt").write_text("describe it")
    with pytest.raises(InputError, match="is no prompt"):
        load_prompt("caption", tmp_path)


def endpoint(**more: Any) -> Endpoint:
    return Endpoint(**{"role": "vlm", "url": "http://127.0.0.1:9/v1", "model": "m", "first_wait": 0.01, **more})


def test_estimates_and_limits() -> None:
    end = endpoint(price=Price(prompt=1, answer=10), picture_tokens=300)
    picture = load_prompt("caption").messages("data:,")
    assert estimate_prompt(picture, end) - estimate_prompt(load_prompt("caption").messages(), end) == 300
    estimate = Estimate(end, 10, 1_000_000, 100_000, 500_000)
    assert estimate.cost == pytest.approx(2) and estimate.most_cost == pytest.approx(6)
    assert "10 requests" in show_estimates([estimate]) and "at most 6.00" in show_estimates([estimate])
    check_estimates([estimate], 2.01)
    with pytest.raises(BudgetSpent, match=r"expected to cost 2\.50"):
        check_estimates([estimate], 2.01, spent=0.5)
    with pytest.raises(InputError, match="needs the price of the vlm"):
        check_estimates([Estimate(endpoint(), 1, 1, 1, 1)], 5)


def test_a_ledger_reserves_what_is_out() -> None:
    end = endpoint(price=Price(prompt=0, answer=1_000_000))
    ledger = Ledger(most=10)
    with ledger.reserve(end, 5, 6), pytest.raises(BudgetSpent), ledger.reserve(end, 5, 5):
        pass
    ledger.book(end, 5, 3)
    with ledger.reserve(end, 5, 7):
        pass
    assert ledger.summary() == {"tokens": {"vlm answer": 3, "vlm prompt": 5}, "cost": 3.0}


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with ModelServer().running() as running:
        yield running


def session(server: ModelServer, path: Path, most: float | None = None) -> Session:
    end = endpoint(url=server.url, key="secret-key", price=Price(prompt=1, answer=1))
    return Session(ChatClient(end), Journal(path), Ledger(most))


def question(text: str = 'say {"caption": "…"}') -> Question:
    return Question(messages=[{"role": "user", "content": text}], limit=50, row="r1", stage="caption")


def test_an_answer_is_paid_once(server: ModelServer, tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    asking = session(server, path)
    first = asking.ask(question(), Caption)
    assert asking.ask(question(), Caption) == first and asking.asked == 1
    asking.journal.close()
    later = session(server, path)
    assert later.ask(question(), Caption) == first and later.asked == 0 and len(server.bodies) == 1
    later.ask(question('another {"caption": "…"}'), Caption)
    assert len(server.bodies) == 2
    assert book_journal(later.journal, later.ledger, [later]) == {("r1", "caption")}
    later.journal.close()
    record = json.loads(path.read_text().splitlines()[0])
    assert record["answer"]["choices"] and record["request"]["max_tokens"] == 50 and record["row"] == "r1"
    assert record["key"] == request_key(server.bodies[0]) and "secret-key" not in path.read_text()


def test_a_lie_is_sent_back_with_the_reason(server: ModelServer, tmp_path: Path) -> None:
    server.faults = [saying("Here is your caption!"), saying('{"caption": 1}')]
    asking = session(server, tmp_path / "a.jsonl")
    assert "A woman" in asking.ask(question(), Caption).caption
    assert [len(body["messages"]) for body in server.bodies] == [1, 3, 3]
    assert "not one JSON object" in server.bodies[1]["messages"][2]["content"]
    assert server.bodies[2]["messages"][1]["content"] == '{"caption": 1}'
    assert len(asking.journal) == 3  # every raw answer is kept
    # the whole exchange is found again
    asking.ask(question(), Caption)
    assert len(server.bodies) == 3


def test_stubborn_and_refusing_models_are_recorded(server: ModelServer, tmp_path: Path) -> None:
    asking = session(server, tmp_path / "a.jsonl")
    server.faults = [saying("I'm sorry, I can't describe people.")] * 3
    with pytest.raises(Refused, match=r"no usable answer in 3 attempts.*I'm sorry"):
        asking.ask(question(), Caption)
    server.faults = [saying("", message={"refusal": "not this one"})]
    with pytest.raises(Refused, match="refused: not this one"):
        asking.ask(question("two"), Caption)
    server.faults = [saying("", finish_reason="content_filter")]
    with pytest.raises(Refused, match="content filter"):
        asking.ask(question("three"), Caption)
    server.faults = [400]
    with pytest.raises(Refused, match="answers 400"):
        asking.ask(question("four"), Caption)
    count = len(server.bodies)
    for text in ('say {"caption": "…"}', "two", "three", "four"):  # and are not asked again
        with pytest.raises(Refused):
            asking.ask(question(text), Caption)
    assert len(server.bodies) == count


def test_an_answer_cut_at_the_limit_says_so(server: ModelServer, tmp_path: Path) -> None:
    server.faults = [saying('{"caption": "a wo', finish_reason="length")]
    session(server, tmp_path / "a.jsonl").ask(question(), Caption)
    assert "cut off at the length limit" in server.bodies[1]["messages"][2]["content"]


def test_what_was_lost_on_the_way_is_booked(server: ModelServer, tmp_path: Path) -> None:
    server.faults = [cut_off]
    asking = session(server, tmp_path / "a.jsonl")
    asking.ask(question(), Caption)
    assert asking.ledger.tokens["vlm prompt"] > 1000  # the whole answer's thousand and the lost one's estimate
    fresh = Ledger()
    book_journal(asking.journal, fresh, [asking])
    assert fresh.tokens == asking.ledger.tokens and fresh.cost == pytest.approx(asking.ledger.cost)


def test_what_is_kept_is_told_by_the_request(server: ModelServer, tmp_path: Path) -> None:
    asking = session(server, tmp_path / "a.jsonl")
    assert not asking.is_kept(question(), Caption)
    server.faults = [saying("no JSON")]
    asking.ask(question(), Caption)
    assert asking.is_kept(question(), Caption) and not asking.is_kept(question("another"), Caption)
    server.faults = [400]
    with pytest.raises(Refused):
        asking.ask(question("another"), Caption)
    assert asking.is_kept(question("another"), Caption)  # a refusal, too
    asking.journal.close()
    # cut off between an unusable answer and the next: one more would be sent
    lines = (tmp_path / "a.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "a.jsonl").write_text(lines[0])
    again = session(server, tmp_path / "a.jsonl")
    assert len(again.journal) == 1 and not again.is_kept(question(), Caption) and len(server.bodies) == 3


def test_answers_are_booked_at_their_own_price(server: ModelServer, tmp_path: Path) -> None:
    first = session(server, tmp_path / "a.jsonl")
    first.ask(question(), Caption)
    first.journal.close()
    dearer = endpoint(url=server.url, model="other", price=Price(prompt=100, answer=100))
    later = Session(ChatClient(dearer), Journal(tmp_path / "a.jsonl"), Ledger())
    assert book_journal(later.journal, later.ledger, [later]) == set()  # this model has answered nothing
    assert later.ledger.cost == pytest.approx(first.ledger.cost) and later.ledger.cost > 0
    # a journal that does not say what another model cost holds no budget
    later.journal.close()
    record = json.loads((tmp_path / "a.jsonl").read_text())
    del record["price"]
    (tmp_path / "a.jsonl").write_text(json.dumps(record) + "\n")
    unknown = Session(ChatClient(dearer), Journal(tmp_path / "a.jsonl"), Ledger(most=5))
    with pytest.raises(InputError, match="answers of m at a price not known"):
        book_journal(unknown.journal, unknown.ledger, [unknown])
    unknown.journal.close()


def test_the_budget_is_kept_while_running(server: ModelServer, tmp_path: Path) -> None:
    asking = session(server, tmp_path / "a.jsonl", most=0.0015)  # one answer costs about 0.0011
    asking.ask(question(), Caption)
    with pytest.raises(BudgetSpent, match="--max-cost"):
        for k in range(20):
            asking.ask(question(f"{k}" * 2000), Caption)
    assert asking.ledger.cost <= 0.0045 and len(server.bodies) <= 3
