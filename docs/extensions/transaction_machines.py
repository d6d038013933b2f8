"""``.. transaction-machine:: INVITE_CLIENT``: a machine drawn from its table in :mod:`sipmesh.transaction.tables`.

States stand one below the other, in the order of the table, with the events that leave a state as it is inside it.
A step to the next state is an arrow between the two; all others take a lane at the right.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from attrs import define, frozen
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from sipmesh.transaction import tables
from sipmesh.transaction.tables import DURATIONS, STARTS, TERMINATED, Table

MARGIN, WIDTH, LINE, GAP = 12, 250, 17, 46
LANES, LANE = 230, 16
"""Pixels: from the boxes to the first lane, which leaves room for labels; and from lane to lane."""


@frozen
class Step:
    """What an event does: ``label`` names both, with no effects where there are none."""

    source: str
    target: str
    label: str


@define
class Box:
    """A state as it is drawn; ``ports`` counts the lanes that already begin or end here."""

    top: int
    lines: list[str]
    height: int
    ports: int = 0

    def port(self) -> int:
        """The next free place on the right side."""
        self.ports += 1
        return self.top + 14 + (self.ports - 1) * LINE


class TransactionMachine(SphinxDirective):
    """The diagram of a machine, and its initial effects."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Draw the table."""
        self.env.note_dependency(tables.__file__)
        table: Table = getattr(tables, self.arguments[0])
        return [nodes.raw("", draw(table, self.arguments[0]), format="html")]


class TransactionTimers(SphinxDirective):
    """What the timers last."""

    def run(self) -> list[nodes.Node]:
        """Read the table."""
        rows = "\n".join(f"   {timer},{_seconds(a)},{_seconds(b)}" for timer, (a, b) in DURATIONS.items())
        return self.parse_text_to_nodes(
            ".. csv-table::\n   :header: Timer, Unreliable transport, Reliable transport\n\n" + rows
        )


def _seconds(duration: float | None) -> str:
    return "not started" if duration is None else f"{duration:g} s" if duration else "at once"


def steps(table: Table) -> list[Step]:
    """All rows of a table; events of a state that do the same stand together."""
    found: dict[tuple[str, str, tuple[str, ...]], list[str]] = {}
    for state, row in table.items():
        for event, (target, effects) in row.items():
            found.setdefault((state, target, effects), []).append(event)
    return [
        Step(state, target, ", ".join(events) + (f": {', '.join(effects)}" if effects else ""))
        for (state, target, effects), events in found.items()
    ]


def draw(table: Table, name: str) -> str:
    """The machine as SVG."""
    states = [*table, TERMINATED]
    all_steps = steps(table)
    initial, effects = STARTS[id(table)]
    boxes = _boxes(states, all_steps)
    parts = [*_arrow(MARGIN + WIDTH // 2, 0, boxes[initial].top)]
    parts.append(_text(MARGIN + WIDTH // 2 + 8, 18, ", ".join(effects) or "a request comes", "label"))
    for state, box in boxes.items():
        parts.append(f'<rect x="{MARGIN}" y="{box.top}" width="{WIDTH}" height="{box.height}" rx="5"/>')
        parts.append(_text(MARGIN + 10, box.top + 18, state))
        parts += [
            _text(MARGIN + 10, box.top + 18 + LINE * (i + 1), s, "label") for i, s in enumerate(box.lines)
        ]
    lanes = 0
    # Long ways outside, so that lanes cross as little as they can; ports are given from top to bottom.
    for step in sorted(all_steps, key=lambda s: states.index(s.target) - states.index(s.source)):
        distance = states.index(step.target) - states.index(step.source)
        if distance == 1:
            same = [s for s in all_steps if (s.source, s.target) == (step.source, step.target)]
            parts += _straight(boxes, step, same)
        elif distance:
            parts += _lane(boxes, step, MARGIN + WIDTH + LANES + lanes * LANE)
            lanes += 1
    bottom = boxes[TERMINATED].top + boxes[TERMINATED].height + MARGIN
    right = MARGIN + WIDTH + LANES + lanes * LANE + MARGIN
    return (
        f'<svg class="diagram" role="img" aria-label="{name}" width="{right}" height="{bottom}" '
        f'viewBox="0 0 {right} {bottom}">{"".join(parts)}</svg>'
    )


def _boxes(states: list[str], all_steps: list[Step]) -> dict[str, Box]:
    boxes: dict[str, Box] = {}
    top = GAP
    for i, state in enumerate(states):
        inside = [s.label for s in all_steps if s.source == s.target == state]
        lanes = [s for s in all_steps if state in (s.source, s.target) and _far(states, s)]
        height = max(28 + LINE * len(inside), 22 + LINE * len(lanes))
        boxes[state] = Box(top, inside, height)
        following = states[i + 1] if i + 1 < len(states) else None
        labels = sum(s.source == state and s.target == following for s in all_steps)
        top += height + max(GAP, 20 + LINE * labels)
    return boxes


def _far(states: list[str], step: Step) -> bool:
    return states.index(step.target) - states.index(step.source) not in (0, 1)


def _straight(boxes: dict[str, Box], step: Step, same: list[Step]) -> Iterator[str]:
    source, target = boxes[step.source], boxes[step.target]
    x = MARGIN + WIDTH // 2
    yield from _arrow(x, source.top + source.height, target.top)
    y = source.top + source.height + 18 + LINE * same.index(step)
    yield _text(x + 8, y, step.label, "label")


def _lane(boxes: dict[str, Box], step: Step, x: int) -> Iterator[str]:
    edge = MARGIN + WIDTH
    start, end = boxes[step.source].port(), boxes[step.target].port()
    yield f'<path d="M{edge} {start} H{x} V{end} H{edge + 7}"/>'
    yield f'<path class="head" d="M{edge} {end} l8 -4 v8 z"/>'
    yield _text(edge + 8, start - 4, step.label, "label")


def _arrow(x: int, top: int, bottom: int) -> Iterator[str]:
    yield f'<path d="M{x} {top} V{bottom - 7}"/>'
    yield f'<path class="head" d="M{x} {bottom} l-4 -8 h8 z"/>'


def _text(x: int, y: int, text: str, kind: str = "state") -> str:
    return f'<text class="{kind}" x="{x}" y="{y}">{escape(text)}</text>'


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_directive("transaction-machine", TransactionMachine)
    app.add_directive("transaction-timers", TransactionTimers)
    return {"parallel_read_safe": True}
