"""RFC 2782: the order of SRV records."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipmesh.resolver.answer import Service
from sipmesh.resolver.order import in_order

services = st.builds(
    Service,
    st.integers(0, 3),
    st.integers(0, 65535),
    st.integers(1, 65535),
    st.sampled_from(["a.example", "b.example"]),
)


@given(st.lists(services, max_size=20), st.randoms(use_true_random=False))
def test_srv_order_loses_nothing_and_keeps_priorities(given_services, rng):
    ordered = list(in_order(given_services, rng))
    assert Counter(ordered) == Counter(given_services)
    assert [s.priority for s in ordered] == sorted(s.priority for s in given_services)


def shares(weights, draws=6000):
    rng = Random(20)
    same = [Service(1, weight, 5061, f"h{n}.example") for n, weight in enumerate(weights)]
    drawn = Counter(next(in_order(same, rng)).target for _ in range(draws))
    return [drawn[s.target] / draws for s in same]


def test_weights_are_shares():
    assert shares([60, 30, 10]) == pytest.approx([0.6, 0.3, 0.1], abs=0.03)


def test_weights_of_zero_share_alike_among_themselves():
    assert shares([0, 0, 0, 0]) == pytest.approx([0.25] * 4, abs=0.03)


def test_a_weight_of_zero_has_a_small_chance_beside_others():
    zero, rest = shares([0, 20])
    assert zero == pytest.approx(1 / 21, abs=0.02)
    assert rest > 0.9


def test_the_second_choice_is_by_weight_too():
    rng = Random(4)
    same = [Service(1, weight, 5061, f"h{weight}.example") for weight in (1000, 75, 25)]
    seconds = Counter(list(in_order(same, rng))[1].weight for _ in range(4000))
    assert seconds[75] / (seconds[75] + seconds[25]) == pytest.approx(0.75, abs=0.05)
