import numpy as np
import pytest

from keysync.evaluate.statistics import summarise


def test_the_interval_is_the_textbooks_for_many_normal_values() -> None:
    values = np.random.default_rng(0).normal(3, 1, 400).tolist()
    found = summarise(values)
    assert found is not None
    assert found.n == 400
    assert found.mean == pytest.approx(np.mean(values))
    half = 1.96 * np.std(values) / 20
    assert found.ci95 == pytest.approx((found.mean - half, found.mean + half), abs=0.015)


def test_the_same_values_give_the_same_interval() -> None:
    assert summarise([1.0, 2.0, 5.0]) == summarise([1.0, 2.0, 5.0])


def test_one_value_is_its_own_interval_and_none_is_none() -> None:
    found = summarise([0.5])
    assert found is not None
    assert found.ci95 == (0.5, 0.5)
    assert summarise([]) is None
