from __future__ import annotations

import pytest
import torch

from napari_blindsound.training.threads import (
    FIRST_SECONDS,
    Slowdown,
    Threads,
    each_fixed,
)


@pytest.fixture
def four_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


def run(threads: Threads, cost: dict[int, float], seconds: float) -> list[int]:
    """Steps of `cost` seconds by number of threads; which numbers were used."""
    used = []
    while seconds > 0:
        with threads.used():
            used.append(torch.get_num_threads())
        threads.note(cost[used[-1]])
        seconds -= cost[used[-1]]
    return used


@pytest.mark.usefixtures("four_threads")
def test_takes_what_is_faster_and_follows_when_that_changes():
    threads = Threads(adapt=True)
    idle, busy = {4: 0.01, 1: 0.02}, {4: 0.2, 1: 0.03}
    used = run(threads, idle, 10)
    assert threads.best == 4
    assert used.count(4) > 0.9 * len(used)
    used = run(threads, busy, 60)
    assert threads.best == 1
    assert used.count(1) > 0.9 * len(used)
    run(threads, idle, 60)
    assert threads.best == 4
    assert torch.get_num_threads() == 4


@pytest.mark.usefixtures("four_threads")
def test_a_trial_costs_little():
    used = run(Threads(adapt=True), {4: 0.01, 1: 0.01}, 60)
    assert used.count(1) * 0.01 < FIRST_SECONDS


@pytest.mark.usefixtures("four_threads")
def test_a_repeatable_training_keeps_its_number():
    threads = Threads(adapt=False)
    assert set(run(threads, {4: 1.0, 1: 0.1}, 100)) == {4}


@pytest.mark.usefixtures("four_threads")
def test_a_number_that_was_asked_for_is_taken():
    threads = Threads(adapt=False, count=3)
    assert set(run(threads, {3: 1.0}, 10)) == {3}
    assert torch.get_num_threads() == 4


@pytest.mark.usefixtures("four_threads")
def test_a_generator_works_with_its_number_and_its_consumer_with_another():
    seen = [
        (inside, torch.get_num_threads())
        for inside in each_fixed((torch.get_num_threads() for _ in range(2)), 2)
    ]
    assert seen == [(2, 4), (2, 4)]
    assert list(each_fixed((torch.get_num_threads() for _ in range(1)), None)) == [4]


def test_a_slowdown_is_noticed_and_a_hiccup_is_not():
    watch = Slowdown()
    assert not any(watch.note(0.02) for _ in range(200))
    assert not watch.note(0.5)
    assert not any(watch.note(0.02) for _ in range(200))
    assert any(watch.note(0.3) for _ in range(10))


def test_a_slow_machine_from_the_start_is_no_slowdown():
    watch = Slowdown()
    assert not any(watch.note(0.5) for _ in range(50))
