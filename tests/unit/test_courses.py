"""The way of a watched run: iterations, seconds and Dice, of one pair and over pairs."""

import json

import pandas as pd
import pytest

from nevf_lite.study.courses import course, mean_course


def row(points, iterations, seconds=10.0, cpu_seconds=10.0):
    return {
        "trajectory": json.dumps(points),
        "options": '{"trajectory":20}',
        "iterations": iterations,
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
    }


def test_the_last_record_gives_way_to_the_end():
    """A run of 40 iterations is recorded after 40 and once more when it is done."""
    rows = pd.DataFrame([row([[0, 0.3], [4, 0.5], [8, 0.6], [9, 0.7]], 40)])
    way = course(next(rows.itertuples()))
    assert way.dice.to_dict() == {0: 0.3, 20: 0.5, 40: 0.7}


def test_seconds_are_those_of_the_processor():
    rows = pd.DataFrame([row([[0, 0.3], [10, 0.5]], 20, seconds=10, cpu_seconds=8)])
    assert course(next(rows.itertuples())).seconds.to_list() == pytest.approx([0, 8])


def test_a_mean_is_over_all_pairs_or_none():
    """One pair stopped after 25 iterations: neither 25 nor 40 has a mean of both."""
    long = row([[0, 0.3], [4, 0.5], [8, 0.6], [8, 0.6]], 40)
    short = row([[0, 0.1], [6, 0.4], [7, 0.4]], 25)
    way = mean_course(pd.DataFrame([long, short]))
    assert way.index.to_list() == [0, 20]
    assert way.loc[20].to_dict() == pytest.approx(
        {"seconds": 5, "dice": 0.45, "low": 0.4, "high": 0.5}
    )
