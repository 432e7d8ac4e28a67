"""The two sides of a comparison, round by round, and the line that tells how it went."""

from dataclasses import dataclass, field
from statistics import median


@dataclass
class Comparison:
    """Ours against a baseline, in the same unit. Rounds alternate, so that a noisy moment of the machine hits both."""

    what: str
    unit: str
    baseline: str
    goal: str = ""
    ours: list[float] = field(default_factory=list)
    theirs: list[float] = field(default_factory=list)

    def add(self, ours: float, theirs: float) -> None:
        """Take one round."""
        self.ours.append(ours)
        self.theirs.append(theirs)

    def __str__(self) -> str:
        ratios = [mine / yours for mine, yours in zip(self.ours, self.theirs, strict=True)]
        spread = f"rounds {min(ratios):.2f} to {max(ratios):.2f}" if len(ratios) > 1 else "1 round"
        told = f"{self.what:<44}{_short(median(self.ours)):>9} {self.unit:<20}"
        told += f"{median(ratios):>6.2f} x {self.baseline} ({_short(median(self.theirs))}; {spread})"
        return f"{told}  [{self.goal}]" if self.goal else told


@dataclass(frozen=True)
class Finding:
    """A number that stands for itself."""

    what: str
    number: float
    unit: str
    said: str = ""

    def __str__(self) -> str:
        told = f"{self.what:<44}{_short(self.number):>9} {self.unit:<20}"
        return f"{told}  {self.said}" if self.said else told


def _short(number: float) -> str:
    return f"{number:,.0f}" if number >= 1_000 else f"{number:.2f}"
