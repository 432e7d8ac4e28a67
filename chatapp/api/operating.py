"""What operators may ask over HTTP: how the sessions and the tables stand. Both need the scope `admin`."""

from flask import Blueprint, Response
from pydantic import BaseModel, Field

from chatapp.api.context import services
from chatapp.api.live import ADMIN
from chatapp.api.operations import operation
from chatapp.api.replies import reply
from chatapp.errors import StoreUnavailable
from chatapp.model import timestamp
from chatapp.stores.survey import Survey

bp = Blueprint("operating", __name__)


class SessionMetrics(BaseModel):
    """What the living sessions are at."""

    at: str = Field(description="When they were read; at most 30 s ago.")
    whole: bool = Field(description="False: there are more than were read, and every number here is too low.")
    active: int
    by_flow: dict[str, int]
    open_turns: int
    messages: int
    interviews: int
    interviews_complete: int
    mean_efficiency: float | None = Field(description="Of the interviews that have one.")

    @classmethod
    def of(cls, survey: Survey) -> "SessionMetrics":
        """Show a survey."""
        return cls(
            at=timestamp(survey.at),
            whole=survey.whole,
            active=survey.active,
            by_flow=dict(survey.by_flow),
            open_turns=survey.open_turns,
            messages=survey.messages,
            interviews=survey.interviews,
            interviews_complete=survey.interviews_complete,
            mean_efficiency=survey.mean_efficiency,
        )


class Expiry(BaseModel):
    """By which attribute items expire, and whether that is switched on."""

    attribute: str | None
    status: str


class IndexView(BaseModel):
    """An index of a table."""

    name: str
    status: str | None
    items: int | None
    bytes: int | None


class TableView(BaseModel):
    """A table; one that cannot be described says `error`."""

    name: str
    table: str = Field(description="As the account knows it.")
    status: str | None = None
    items: int | None = Field(None, description="DynamoDB counts anew every six hours or so.")
    bytes: int | None = None
    ttl: Expiry | None = None
    indexes: list[IndexView] | None = None
    error: str | None = None


class TablesView(BaseModel):
    """All tables of the product."""

    tables: list[TableView]


@bp.get("/metrics/sessions")
@operation(answers={200: SessionMetrics}, errors=(StoreUnavailable,), scope=ADMIN)
def session_metrics() -> Response:
    """Count the living sessions. It reads the table, 64 MB of it at most, and keeps the answer for 30 s in this process."""
    return reply(SessionMetrics.of(services().surveyor.recent()), nulls=True)


@bp.get("/debug/dynamo/tables")
@operation(answers={200: TablesView}, scope=ADMIN)
def dynamo_tables() -> Response:
    """Describe the tables: status, sizes, expiry and indexes."""
    return reply(TablesView.model_validate({"tables": services().tables.describe()}))
