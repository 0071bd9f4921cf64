"""Phones are found where they are said."""

from __future__ import annotations

import shutil
from itertools import combinations, pairwise, product

import numpy as np
import pytest

from keysync.models import compact_ear
from keysync.synthetic.align import align, best_path
from keysync.synthetic.speech import speak


def test_the_best_path_is_the_best_of_all_paths() -> None:
    told = np.random.default_rng(0).normal(size=(7, 3))
    scores = {
        starts: sum(told[step, sum(step >= start for start in starts)] for step in range(7)) / 7
        for starts in combinations(range(1, 7), 2)
    }
    best = max(scores, key=lambda starts: scores[starts])
    path = best_path(told)
    assert tuple(np.searchsorted(path, range(3))) == (0, *best)
    assert told[np.arange(len(path)), path].mean() == pytest.approx(scores[best])


def test_optional_states_are_passed_over_where_that_is_better_and_the_end_is_free() -> None:
    told = np.random.default_rng(1).normal(size=(6, 4))
    optional = np.array([True, False, True, False])
    ways = [
        way
        for way in product(range(4), repeat=6)
        if way[0] <= 1 and all(b in (a, a + 1) or (b == a + 2 and optional[a + 1]) for a, b in pairwise(way))
    ]
    scores = {way: sum(told[step, state] for step, state in enumerate(way)) / 6 for way in ways}
    best = max(scores, key=lambda way: scores[way])
    path = best_path(told, optional)
    assert tuple(path) == best
    assert told[np.arange(len(path)), path].mean() == pytest.approx(scores[best])


def test_states_that_do_not_fit_are_refused() -> None:
    assert tuple(best_path(np.zeros((3, 3)))) == (0, 1, 2)
    with pytest.raises(ValueError, match="3 states do not fit into 2 steps"):
        best_path(np.zeros((2, 3)))


@pytest.mark.skipif(shutil.which("flite") is None, reason="flite is not installed")
def test_phones_of_a_voice_never_heard_are_found_where_flite_says_they_are() -> None:
    errors_s, fit, misfit = [], [], []
    for seed in range(4):
        said = speak("Bob gave my father five maps, we move home.", "awb", np.random.default_rng(seed))
        names = [phone.name for phone in said.phones]
        found, agreement = align(compact_ear(), said.samples, names)
        assert [phone.name for phone in found.phones] == names
        errors_s += [
            abs(ours.start_s - true.start_s) for ours, true in zip(found.phones, said.phones, strict=True)
        ]
        fit.append(agreement)
        misfit.append(align(compact_ear(), said.samples, names[::-1])[1])
    assert np.median(errors_s) < 0.02
    assert np.quantile(errors_s, 0.9) < 0.05
    assert max(misfit) < min(fit) <= 0.0
