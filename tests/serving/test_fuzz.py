"""Every route, asked what its own OpenAPI allows and what it does not: never an internal error.

Schemathesis makes the requests. What they paint is tiny, and few may wait, so that 429 is met too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx2 as httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import response_schema_conformance

from limner.serving.limits import Limits
from mditface.parts import write_nano
from serving.conftest import Running

EXAMPLES = 6  # a route, always the same


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder: Path = tmp_path_factory.mktemp("fuzzed")
    limits = Limits(folder=folder / "jobs", queue=4, upload_bytes=200_000, job_seconds=2)
    with Running(limits, source=str(write_nano(folder))) as running:
        yield running


def test_no_request_is_an_internal_error(tiny: Running) -> None:
    schema = schemathesis.openapi.from_dict(httpx.get(f"{tiny.url}/openapi.json").json())
    asked: Counter[int] = Counter()
    for found in schema.get_all_operations():
        assert isinstance(found, Ok), found
        operation = found.ok()

        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
        )
        @given(case=operation.as_strategy())
        def ask(case: schemathesis.Case) -> None:
            case.query = {key: value for key, value in (case.query or {}).items() if key != "wait"}  # it waits, rightly
            answer = case.call(base_url=tiny.url, timeout=60)
            asked[answer.status_code] += 1
            if answer.status_code == 503:  # an engine without weights says so; no other answer of the kind is one
                assert answer.json()["error"]["code"] == "no_weights"
            else:
                case.validate_response(answer, checks=[not_a_server_error, response_schema_conformance])

        ask()
    assert sum(asked.values()) > 60 and asked[200] > 5 and asked[422] + asked[404] + asked[400] > 5
