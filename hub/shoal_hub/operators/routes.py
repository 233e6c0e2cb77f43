"""Routes of operators: who the caller is."""

from datetime import datetime

from fastapi import APIRouter
from pydantic import BaseModel

from shoal_hub.dependencies import Operator
from shoal_hub.error_response import documented

router = APIRouter(prefix="/operator", tags=["operators"])


class OperatorPublic(BaseModel):
    """The operator that a token speaks for."""

    id: str
    name: str
    created_at: datetime


@router.get("", responses=documented(401))
def read_operator(operator: Operator) -> OperatorPublic:
    """Return who the caller is; `shoal login` checks its token with this."""
    return OperatorPublic.model_validate(operator, from_attributes=True)
