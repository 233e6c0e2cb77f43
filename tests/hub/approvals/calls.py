"""What people do at the API to ask, to agree, and to see what came of it."""

from typing import Any

from fastapi.testclient import TestClient
from sqlmodel import func, select

from shoal_hub.context import HubContext
from shoal_hub.rollouts.tables import Rollout

URL = "/api/v1"
PLAN = {"model": "digits", "version": "1"}


def ask_for(admin: TestClient, **policy: int) -> None:
    answer = admin.put(f"{URL}/models/digits/approval-policy", json=policy)
    assert answer.status_code == 200, answer.text


def waits(answer: Any) -> Any:
    assert answer.status_code == 202, answer.text
    return answer.json()


def roll_out(author: TestClient, **changes: Any) -> Any:
    return author.post(f"{URL}/rollouts", json=PLAN | changes)


def promote(author: TestClient, number: int = 1, stage: str = "production") -> Any:
    return author.post(f"{URL}/models/digits/versions/{number}/stage", json={"stage": stage, "comment": "good"})


def approve(by: TestClient, asked: Any, **changes: Any) -> Any:
    body = {"content_sha256": asked["content_sha256"]} | changes
    return by.post(f"{URL}/approvals/{asked['id']}/approve", json=body)


def rollouts(hub: HubContext) -> int:
    with hub.database.session() as session:
        return session.exec(select(func.count()).select_from(Rollout)).one()


def stage_of(client: TestClient, number: int = 1) -> str:
    stage: str = client.get(f"{URL}/models/digits/versions/{number}").json()["stage"]
    return stage
