"""Property-based calls of every route, made from the OpenAPI description itself (schemathesis).

Whatever a caller sends, the hub answers with a documented status in the documented form, and never with a 5xx.
"""

from typing import Any, TypeAlias

import pytest
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from shoal_hub.context import HubContext

APIOperation: TypeAlias = schemathesis.APIOperation[Any, Any, Any, Any]
Case: TypeAlias = schemathesis.Case[Any]
_CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
_CALLS = 60
"""Of each route."""
_ENDLESS = "stream$"
"""Streams that never end have tests of their own."""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_no_call_of_any_route_gets_a_server_error_or_an_undocumented_answer(
    sqlite_client: TestClient, sqlite_hub: HubContext, subtests: pytest.Subtests
) -> None:
    sqlite_hub.settings.data.mkdir(exist_ok=True)
    schema = schemathesis.openapi.from_asgi("/api/openapi.json", sqlite_client.app)
    headers = {"authorization": sqlite_client.headers["authorization"]}
    called = 0
    for found in schema.exclude(path_regex=_ENDLESS).get_all_operations():
        operation = found.ok()  # type: ignore[union-attr]  # raises, with the reason, where the description is broken
        with subtests.test(operation.label):
            _call_often(operation, headers)
        called += 1
    assert called > 0


def _call_often(operation: APIOperation, headers: dict[str, str]) -> None:
    @given(case=operation.as_strategy())
    @settings(max_examples=_CALLS, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    def call(case: Case) -> None:
        case.call_and_validate(headers=headers, checks=_CHECKS)

    call()
