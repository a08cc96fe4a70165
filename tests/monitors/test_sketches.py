import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitors.sketches import ERROR, LEAST, Sketch

values = st.lists(st.floats(LEAST, 1e6), min_size=1, max_size=200)


@given(values, st.floats(0, 1))
def test_quantile_is_within_the_stated_error_of_a_value(found, q):
    sketch = Sketch(found)

    exact = sorted(found)[int(q * (len(found) - 1))]

    assert ERROR < 0.015
    assert sketch.quantile(q) == pytest.approx(exact, rel=ERROR + 1e-9)


@given(values, values)
def test_merging_is_as_if_all_had_been_added_to_one(some, others):
    merged = Sketch(some)
    merged.merge(Sketch(others))

    assert merged == Sketch(some + others)


@given(values)
def test_bytes_keep_everything(found):
    sketch = Sketch(found)

    assert Sketch.from_bytes(sketch.to_bytes()) == sketch


def test_an_hour_of_usual_latencies_takes_few_bytes():
    hour = Sketch(40 + n % 20 for n in range(60))

    assert len(hour.to_bytes()) < 40


def test_nothing_has_no_quantile():
    with pytest.raises(ValueError, match="no quantiles"):
        Sketch().quantile(0.5)
