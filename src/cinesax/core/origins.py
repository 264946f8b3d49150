"""The origin of a contour: what made it, who made it, and whether a person approved it; and signatures."""

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from cinesax.core.errors import InputError


class Origin(StrEnum):
    """What made a contour."""

    NETWORK = "network"
    INTERPOLATED = "interpolated"
    """Computed from contours of other frames."""
    EDITED = "edited"
    """Drawn or changed by a person in this exam; also: the person said that there is nothing to draw."""
    GIVEN = "given"
    """Read from a file, or made by another program."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """Where one contour comes from; also records the decision that a frame has none.

    Attributes:
        origin: what made it.
        by: who made it: a person, or a network's name and version.
        approved: whether a person approved it.
    """

    origin: Origin
    by: str
    approved: bool = False


@dataclass(frozen=True, slots=True)
class Approval:
    """Who approved an analysis, and when.

    Attributes:
        by: the person's name, as typed.
        at: the time, UTC, such as "2026-03-01T14:30:00Z".
        comment: the person's comment, or "".
        number: number of this version, counted from 1.
        organization: where the person works, or "not stated".

    Raises:
        InputError: the name is missing, or the time is not valid.
    """

    by: str
    at: str
    comment: str = ""
    number: int = 1
    organization: str = "not stated"

    def __post_init__(self) -> None:
        if not self.by.strip():
            raise InputError("an approval needs the name of a person")
        try:
            self.moment.astimezone(UTC)
        except (ValueError, OverflowError) as error:
            raise InputError(f"an approval needs a time like 2026-03-01T14:30:00Z, seen {self.at!r}") from error

    @property
    def moment(self) -> datetime:
        """The time with its zone."""
        moment = datetime.fromisoformat(self.at)
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
