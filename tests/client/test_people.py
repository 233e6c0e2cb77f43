"""The client's users, API tokens and approvals, against a real hub over HTTPS."""

from collections.abc import Iterator

import pytest
from pydantic import SecretStr
from tests.hub.served import ServedHub, served_hub
from tests.simulators.rows import add_device, add_version

from shoal_client import ApiError, ApprovalPendingError, ShoalClient
from shoal_client.operators import ApprovalPolicy
from shoal_hub.operators.roles import Role
from shoal_hub.operators.tokens import create_operator_token


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedHub]:
    with served_hub(tmp_path_factory.mktemp("hub")) as hub:
        with hub.hub.database.transaction() as session:
            add_device(session)
            add_version(session, hub.hub.artifacts, 1, {"generic-onnx-int8": b"variant"})
        yield hub


@pytest.fixture
def client(served: ServedHub) -> Iterator[ShoalClient]:
    with ShoalClient(served.url, served.token, served.ca_path) as opened:
        yield opened


@pytest.fixture
def approver(served: ServedHub) -> Iterator[ShoalClient]:
    with served.hub.database.transaction() as session:
        token = create_operator_token(session, "anna", Role.APPROVER)
    with ShoalClient(served.url, token, served.ca_path) as opened:
        yield opened


def test_the_caller_is_known_with_role_and_scopes(client: ShoalClient) -> None:
    caller = client.operator()
    assert (caller.name, caller.role) == ("ada", "admin")
    assert {"read", "admin"} <= set(caller.scopes)


def test_users_are_made_changed_and_disabled(client: ShoalClient) -> None:
    made = client.users.create("grace", "viewer", SecretStr("correct horse battery"))
    assert (made.role, made.comes_by) == ("viewer", "password")
    assert client.users.set_role("grace", "operator").role == "operator"
    assert client.users.reset_password("grace", SecretStr("another long password")).name == "grace"
    assert client.users.disable("grace").disabled_at is not None
    assert client.users.disable("grace", is_disabled=False).disabled_at is None
    assert "grace" in {user.name for user in client.users.list()}


def test_a_token_is_made_used_and_withdrawn(client: ShoalClient, served: ServedHub) -> None:
    client.users.create("ci", "operator")
    made = client.operator_tokens.create("ci", "operator", ["read"], label="nightly", expires_in_s=3600)
    with ShoalClient(served.url, made.token, served.ca_path) as other:
        assert other.operator().name == "ci"
        with pytest.raises(ApiError, match="no scope enrol") as refused:
            other.tokens.create()
        assert refused.value.status == 403
    assert made.id in {token.id for token in client.operator_tokens.list()}
    assert client.operator_tokens.revoke(made.id).revoked_at is not None


def test_what_a_policy_has_wait_is_told_and_happens_with_the_approval(
    client: ShoalClient, approver: ShoalClient
) -> None:
    policy = ApprovalPolicy(rollout=1, production=1)
    assert client.approvals.set_policy("digits", policy) == policy == approver.approvals.policy("digits")
    with pytest.raises(ApprovalPendingError, match="waits until another person approve") as waits:
        client.rollouts.start("digits", 1)
    asked = waits.value.approval
    assert client.approvals.show(asked.id) == asked
    assert client.rollouts.list() == []
    done = approver.approvals.approve(asked.id, asked.content_sha256, "seen")
    assert (done.state, done.approvals[0].comment) == ("done", "seen")
    assert len(client.rollouts.list()) == 1
    client.rollouts.abort(client.rollouts.list()[0].id)
    with pytest.raises(ApprovalPendingError) as moves:
        client.models.move("digits", 1, "production")
    assert client.approvals.reject(moves.value.approval.id, "not yet").state == "rejected"
    assert [one.state for one in client.approvals.list(model="digits")] == ["rejected", "done"]
    assert client.models.move("digits", 1, "staging").version.stage == "staging"
