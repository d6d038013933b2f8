"""What didn't fit, in words: from types and exceptions to what an administrator reads."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence, Set
from difflib import get_close_matches
from enum import Enum
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import attrs
from cattrs import ClassValidationError, ForbiddenExtraKeysError, IterableValidationError
from cattrs.errors import AttributeValidationNote

from ..sip import SipUri, Uri
from .problems import Problem, Unfit, shown
from .rules import Rule

NAMES: dict[Any, str] = {
    str: "text",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    Path: "the path of a file",
    SipUri: "a sip or sips URI",
    Uri: "a URI",
    NoneType: "nothing",
}


def described(kind: Any) -> str:
    """What fits a type, to read after 'expected'."""
    origin, args = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return next((rule.expected for rule in args[1:] if isinstance(rule, Rule)), described(args[0]))
    if kind in NAMES:
        return NAMES[kind]
    if origin is Literal:
        return one_of(args)
    if origin in (Union, UnionType):
        return " or ".join(described(arm) for arm in args if arm is not NoneType)
    if (origin or kind) in (tuple, list, set, frozenset, Sequence, Iterable, Collection, Set):
        if origin is tuple and Ellipsis not in args:
            return f"a list of {len(args)} ({', '.join(described(arm) for arm in args)})"
        return f"a list, each {described(args[0])}" if args else "a list"
    if (origin or kind) in (dict, Mapping) or attrs.has(kind):
        return "a table"
    if isinstance(kind, type) and issubclass(kind, Enum):
        return one_of([member.value for member in kind])
    return str(getattr(kind, "__name__", kind))


def one_of(values: Iterable[object]) -> str:
    """A choice, to read after 'expected'."""
    return "one of " + ", ".join(repr(value) for value in values)


def misfits(error: BaseException, file: Path, key: str, secret: bool = False) -> Iterator[Problem]:
    """What :mod:`cattrs` raised, as the problems that it stands for.

    :param key: where the table that didn't fit stands in the file.
    :param secret: whether no value in it may be shown.
    """
    match error:
        case ClassValidationError():
            fields = {f.name: f for f in attrs.fields(error.cl)} if attrs.has(error.cl) else {}
            known, others = error.group_exceptions()
            for nested, place in known:
                attribute = fields[place.name]
                yield from _of_attribute(
                    nested, place, attribute, file, _joined(key, attribute.alias), secret
                )
            for nested in others:
                hidden = secret or any(f.init and f.repr is False for f in fields.values())
                yield from misfits(nested, file, key, hidden)
        case IterableValidationError():
            for nested, item in error.group_exceptions()[0]:
                step = f"[{item.index}]" if isinstance(item.index, int) else f".{item.index}"
                yield from misfits(nested, file, f"{key}{step}", secret)
        case ForbiddenExtraKeysError():
            yield from _unknown_keys(error, file, key)
        case Unfit():
            got = "a value that isn't shown, as it may be secret" if secret else shown(error.got)
            yield Problem(file, key, error.expected, got, error.remedy)
        case _:
            yield _refusal(error, file, key, secret)


def _refusal(error: BaseException, file: Path, key: str, secret: bool) -> Problem:
    """The class itself refused: an attrs validator, whose errors mostly name the attribute, or its code."""
    attribute = next((arg for arg in error.args if isinstance(arg, attrs.Attribute)), None)
    if attribute is not None:
        key, secret = _joined(key, attribute.alias or attribute.name), attribute.repr is False
    says = "why isn't shown, as it may be secret" if secret else error.args[0] if error.args else error
    return Problem(file, key, "what the policy takes", f"what it refuses ({type(error).__name__}: {says})")


def _of_attribute(
    error: Exception, place: AttributeValidationNote, attribute: Any, file: Path, key: str, secret: bool
) -> Iterator[Problem]:
    if isinstance(error, KeyError):
        yield Problem(file, key, described(place.type), "nothing", "the key is required: add it")
    else:
        yield from misfits(error, file, key, secret or attribute.repr is False)


def _unknown_keys(error: ForbiddenExtraKeysError, file: Path, key: str) -> Iterator[Problem]:
    known = [f.alias for f in attrs.fields(error.cl) if f.init]
    for extra in sorted(error.extra_fields):
        yield unknown_key(file, _joined(key, extra), extra, known)


def unknown_key(file: Path, key: str, extra: str, known: Collection[str]) -> Problem:
    """The problem of a key that nobody reads, with what may have been meant."""
    close = get_close_matches(extra, known, 1)
    remedy = f"did you mean {close[0]!r}?" if close else "remove it"
    return Problem(
        file, key, f"one of {', '.join(known)}" if known else "no keys", "a key nobody reads", remedy
    )


def _joined(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name
