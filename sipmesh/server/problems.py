"""What can be wrong with a configuration, said so that it can be mended: file, key, expected, got, remedy."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from attrs import frozen


@frozen
class Problem:
    """One thing that keeps a configuration from being used.

    :ivar file: the file to mend.
    :ivar key: where in it: ``listen[0].endpoint``; ``""`` for the file as a whole.
    :ivar expected: what should have stood there.
    :ivar got: what did; values that may be secret are never shown.
    :ivar remedy: what to do about it, one sentence.
    """

    file: Path
    key: str
    expected: str
    got: str
    remedy: str = ""

    def __str__(self) -> str:
        """As an administrator reads it, the remedy on a line of its own."""
        place = f"{self.file}: {self.key}" if self.key else str(self.file)
        remedy = f"\n    {self.remedy}" if self.remedy else ""
        return f"{place}: expected {self.expected}, got {self.got}{remedy}"


class ConfigurationError(Exception):
    """A configuration that can't be used. Nothing was opened, nothing was changed.

    :ivar problems: all of them, so that one run is enough to mend them.
    """

    def __init__(self, problems: Iterable[Problem]) -> None:
        """Gather them, in the order in which they are to be read."""
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class Unfit(ValueError):
    """A value doesn't fit where it stands. Raised by what checks one value, which doesn't know where that is.

    :ivar expected: what would fit, to read after 'expected'.
    :ivar got: the value; whether it may be shown is for the collector to say.
    :ivar remedy: what to do, if that's more than writing what was expected.
    """

    def __init__(self, expected: str, got: object, remedy: str = "") -> None:
        """The message is what was expected: the value itself may be secret."""
        super().__init__(expected)
        self.expected = expected
        self.got = got
        self.remedy = remedy


def shown(value: object) -> str:
    """A value from a TOML file as an error message shows it: its kind, and scalars in short."""
    match value:
        case bool():
            return f"the boolean {str(value).lower()}"
        case int() | float():
            return f"the number {str(value)[:40]}"
        case str():
            return f"the text {value if len(value) <= 80 else value[:77] + '...'!r}"
        case list():
            return f"a list of {len(value)}"
        case dict():
            return "a table"
        case None:
            return "nothing"
        case _:
            return f"the {type(value).__name__} {str(value)[:40]}"
