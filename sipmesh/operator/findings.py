"""What ``sipmesh check`` finds."""

from __future__ import annotations

from pathlib import Path

from attrs import frozen

from ..server.problems import Problem


@frozen
class Finding:
    """Something that an administrator should know.

    :ivar warning: the server works with it, for now; else it is an error.
    """

    problem: Problem
    warning: bool = False

    def __str__(self) -> str:
        """One line, and the remedy on another."""
        return f"{'warning' if self.warning else 'error'}: {self.problem}"


def error(file: Path, key: str, expected: str, got: object, remedy: str) -> Finding:
    """Something with which the server doesn't start, or nobody trusts it."""
    return Finding(Problem(file, key, expected, str(got), remedy))


def warning(file: Path, key: str, expected: str, got: object, remedy: str) -> Finding:
    """Something that will be an error, or that is bolder than it need be."""
    return Finding(Problem(file, key, expected, str(got), remedy), warning=True)


def unreadable(file: Path, key: str, exception: OSError) -> Finding:
    """A file that the configuration names and that can't be read."""
    return error(
        file,
        key,
        f"that {exception.filename} can be read",
        exception.strerror or exception,
        "correct the path, or who may read it; paths are relative to the configuration file",
    )
