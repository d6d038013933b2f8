"""From a TOML table to an attrs class: strict about types and keys, and every misfit is found in one run.

``cattrs`` does the walking; this adds that nothing is coerced (``"5061"`` is no number, ``true`` is no 1),
that paths are relative to the file, and that what comes out of a failure is a list of :class:`Problem`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence, Set
from difflib import get_close_matches
from enum import Enum
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import attrs
from cattrs import (
    BaseConverter,
    ClassValidationError,
    Converter,
    IterableValidationError,
)
from cattrs.errors import IterableValidationNote
from cattrs.gen import make_dict_structure_fn

from ..sip import OtherUri, SipSyntaxError, SipUri, TelUri, parse_sip_uri, parse_uri
from .misfits import NAMES, described, misfits, one_of
from .problems import ConfigurationError, Unfit
from .rules import Rule

T = TypeVar("T")
Hook = Callable[[Any, Any], Any]

ARRAYS: dict[Any, Callable[[Iterable[Any]], Collection[Any]]] = {
    tuple: tuple,
    list: list,
    set: set,
    frozenset: frozenset,
    Sequence: tuple,
    Iterable: tuple,
    Collection: tuple,
    Set: frozenset,
}


def structure(value: object, into: type[T], file: Path, key: str = "") -> T:
    """Build an attrs class from a table of a configuration file.

    :param value: what stands in the file.
    :param into: its attributes are the keys: those without a default have to be there, others may not.
        An attribute with ``repr=False`` is a secret, whose value no message shows.
    :param file: relative paths are taken relative to its directory.
    :param key: where the value stands in the file, for messages.
    :raises ConfigurationError: with every misfit.
    """
    try:
        return _converter(file.parent).structure(value, into)
    except Exception as e:
        raise ConfigurationError(misfits(e, file, key)) from e


# Values ---------------------------------------------------------------------------------------------------


def _converter(directory: Path) -> Converter:
    converter = Converter(
        detailed_validation=True,
        forbid_extra_keys=True,
        use_alias=True,
        structure_fallback_factory=_unsupported,
    )
    converter.register_structure_hook_func(lambda kind: kind in (Any, object), lambda value, _: value)
    for kind in (str, bool, int):
        converter.register_structure_hook(kind, _exactly(kind))
    converter.register_structure_hook(float, _number)
    converter.register_structure_hook(Path, lambda value, _: directory / _exactly(str)(value, Path))
    converter.register_structure_hook(SipUri, _parsed(parse_sip_uri))
    for uri in (TelUri, OtherUri):
        converter.register_structure_hook(uri, _parsed(parse_uri))
    factories: tuple[tuple[Callable[[Any], bool], Callable[[Any, BaseConverter], Hook]], ...] = (
        (attrs.has, _table),
        (lambda kind: get_origin(kind) in (dict, Mapping), _mapping),
        (lambda kind: (get_origin(kind) or kind) in ARRAYS, _array),
        (lambda kind: get_origin(kind) is Literal, lambda kind, _: _literal(get_args(kind), {})),
        (lambda kind: get_origin(kind) in (Union, UnionType), _union),
        (lambda kind: get_origin(kind) is Annotated, _annotated),
    )
    for fits, factory in factories:
        converter.register_structure_hook_factory(fits, factory)
    return converter


def _unsupported(kind: Any) -> Hook:
    def refuse(value: object, _: Any) -> object:
        raise Unfit("no such key", value, f"an attribute of type {described(kind)} can't be given in a file")

    return refuse


def _exactly(wanted: type) -> Hook:
    def check(value: object, kind: Any) -> object:
        if isinstance(kind, type) and issubclass(kind, Enum):  # class Mode(str, Enum) is looked up as a str
            return _literal([m.value for m in kind], {m.value: m for m in kind})(value, kind)
        if type(value) is not wanted:
            raise Unfit(NAMES[kind], value)
        return value

    return check


def _number(value: object, _: Any) -> float:
    if type(value) not in (int, float) or not math.isfinite(value):  # type: ignore[arg-type]  # narrowed by type()
        raise Unfit(NAMES[float], value)
    return float(value)  # type: ignore[arg-type]


def _parsed(parse: Callable[[str], object]) -> Hook:
    def check(value: object, kind: Any) -> object:
        if not isinstance(value, str):
            raise Unfit(described(kind), value)
        try:
            uri = parse(value)
        except SipSyntaxError as e:
            raise Unfit(described(kind), value, e.reason) from e
        if not isinstance(uri, kind):
            raise Unfit(described(kind), value)
        return uri

    return check


def _literal(allowed: Collection[object], members: Mapping[object, object]) -> Hook:
    def check(value: object, _: Any) -> object:
        if not any(value == one and type(value) is type(one) for one in allowed):
            spelt = {str(one).lower(): str(one) for one in allowed}
            close = get_close_matches(str(value).lower(), spelt, 1)
            raise Unfit(one_of(allowed), value, f"did you mean {spelt[close[0]]!r}?" if close else "")
        return members.get(value, value)

    return check


def _annotated(kind: Any, converter: BaseConverter) -> Hook:
    base, *metadata = get_args(kind)
    rules = [rule for rule in metadata if isinstance(rule, Rule)]
    hook = converter.get_structure_hook(base)

    def check(value: object, _: Any) -> object:
        value = hook(value, base)
        for rule in rules:
            value = rule.check(value)
        return value

    return check


def _union(kind: Any, converter: BaseConverter) -> Hook:
    arms = [arm for arm in get_args(kind) if arm is not NoneType]
    hooks = [(arm, converter.get_structure_hook(arm)) for arm in arms]
    if len(hooks) == 1:
        return lambda value, _: hooks[0][1](value, arms[0])

    def first_that_fits(value: object, _: Any) -> object:
        for arm, hook in hooks:
            try:
                return hook(value, arm)
            except (Unfit, ClassValidationError, IterableValidationError):
                continue
        raise Unfit(described(kind), value)

    return first_that_fits


# Tables and lists -----------------------------------------------------------------------------------------


def _table(cls: Any, converter: BaseConverter) -> Hook:
    try:
        attrs.resolve_types(cls)
    except NameError as e:
        raise Unfit("an attrs class", cls.__qualname__, f"{e}: import what its annotations name") from e
    assert isinstance(converter, Converter)
    build = make_dict_structure_fn(
        cls,
        converter,
        _cattrs_forbid_extra_keys=True,
        _cattrs_use_alias=True,
        _cattrs_detailed_validation=True,
    )

    def check(value: object, _: Any) -> object:
        if not isinstance(value, dict):
            raise Unfit("a table", value)
        return build(value, cls)

    return check


def _mapping(kind: Any, converter: BaseConverter) -> Hook:
    _, values = get_args(kind)
    hook = converter.get_structure_hook(values)

    def check(value: object, _: Any) -> object:
        if not isinstance(value, dict):
            raise Unfit("a table", value)
        return dict(zip(value, _each(value.items(), lambda _: (values, hook), kind), strict=True))

    return check


def _array(kind: Any, converter: BaseConverter) -> Hook:
    args = get_args(kind) or (Any,)
    fixed = get_origin(kind) is tuple and Ellipsis not in args
    hooks = [(arg, converter.get_structure_hook(arg)) for arg in args if arg is not Ellipsis]
    collect = ARRAYS[get_origin(kind) or kind]

    def check(value: object, _: Any) -> object:
        if not isinstance(value, list):
            raise Unfit(
                described(kind), value, "write it in brackets: [ ... ]" if isinstance(value, str) else ""
            )
        if fixed and len(value) != len(hooks):
            raise Unfit(f"a list of {len(hooks)}", value)
        return collect(_each(enumerate(value), lambda i: hooks[i if fixed else 0], kind))

    return check


def _each(
    items: Iterable[tuple[Any, object]], hook_of: Callable[[Any], tuple[Any, Hook]], kind: Any
) -> list[object]:
    """Structure each item; the failures of all of them come out together."""
    done: list[object] = []
    failed: list[Exception] = []
    for index, item in items:
        arg, hook = hook_of(index)
        try:
            done.append(hook(item, arg))
        except Exception as e:
            e.add_note(IterableValidationNote(f"at {index}", index, arg))
            failed.append(e)
    if failed:
        raise IterableValidationError("elements that don't fit", failed, kind)
    return done
