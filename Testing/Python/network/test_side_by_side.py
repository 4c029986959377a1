"""Pieces of work side by side: the same results in the same order, with errors, Cancel and clocks kept."""

import threading

import pytest
import torch

from MedMetaSegLib.errors import Cancelled, InputError
from MedMetaSegLib.network.side_by_side import MOST_AT_ONCE, Caller, pieces_at_once, side_by_side
from MedMetaSegLib.stages import recorded_stages, stage


@pytest.fixture(autouse=True)
def threads_kept():
    """The threads that torch computes with, as they were before."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def numbered(number, wait_for=None):
    def piece(caller: Caller):
        if wait_for is not None:
            assert wait_for.wait(60)
        return number, threading.current_thread()

    return piece


def test_results_come_in_order_though_a_later_piece_ends_first():
    second_is_done = threading.Event()

    def second(caller):
        second_is_done.set()
        return 2, threading.current_thread()

    found = list(side_by_side([numbered(1, second_is_done), second, numbered(3)], 2))

    assert [number for number, _ in found] == [1, 2, 3]
    assert threading.current_thread() not in {thread for _, thread in found}


def test_the_longest_pieces_begin_first_and_results_keep_their_order():
    begun = []
    both = threading.Barrier(2)

    def piece(number):
        def run(caller):
            begun.append(number)
            if number in (1, 2):
                both.wait(60)  # neither ends, so that no other begins, before both have begun
            return number

        return run

    work = [piece(number) for number in range(4)]
    assert list(side_by_side(work, 2, sizes=[1, 9, 8, 2])) == [0, 1, 2, 3]
    assert set(begun[:2]) == {1, 2}


def test_one_at_once_runs_in_the_caller_when_it_is_asked_for():
    begun = []

    def piece(number, caller):
        begun.append(number)
        return threading.current_thread()

    results = side_by_side([lambda caller: piece(1, caller), lambda caller: piece(2, caller)], 1)

    assert next(results) is threading.current_thread()
    assert begun == [1]
    assert list(results) == [threading.current_thread()]


def test_the_threads_of_torch_are_shared_out_and_given_back():
    torch.set_num_threads(4)
    both = threading.Barrier(2)

    def piece(caller):
        both.wait(60)
        return torch.get_num_threads()

    assert list(side_by_side([piece, piece], 2)) == [2, 2]

    later = []
    thread = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert (torch.get_num_threads(), later) == (4, [4])


def test_pieces_at_once_follow_the_device_and_its_threads():
    torch.set_num_threads(2)
    assert pieces_at_once(torch.device("cpu")) == 2
    torch.set_num_threads(MOST_AT_ONCE + 4)
    assert pieces_at_once(torch.device("cpu")) == MOST_AT_ONCE
    assert pieces_at_once(torch.device("cuda")) == 1


def test_what_a_piece_raises_ends_the_work_of_all():
    seen = []

    def fails(caller):
        raise InputError("This piece does not fit.")

    def goes_on(caller):
        while not caller.cancelled():
            threading.Event().wait(0.01)
        seen.append("stopped")
        caller.check()

    with pytest.raises(InputError, match="does not fit"):
        list(side_by_side([fails, goes_on, goes_on], 2))

    assert set(seen) <= {"stopped"}
    assert not [one for one in threading.enumerate() if one.name.startswith("piece")]


@pytest.mark.parametrize("at_once", [1, 2])
def test_cancel_is_asked_in_the_callers_thread_and_ends_pieces_at_work(at_once):
    asked, ended = [], []
    at_work = threading.Event()

    def check():
        asked.append(threading.current_thread())
        if at_work.is_set():
            raise Cancelled("Cancelled: nothing was written.")

    def piece(caller):
        at_work.set()
        while True:
            try:
                caller.check()
            except Cancelled:
                ended.append(1)
                raise

    with pytest.raises(Cancelled):
        list(side_by_side([piece, piece], at_once, check))

    assert set(asked) == {threading.current_thread()}
    assert ended


@pytest.mark.parametrize("at_once", [1, 2])
def test_a_function_that_a_piece_hands_over_runs_in_the_callers_thread_before_its_result(at_once):
    happened = []

    def piece(number):
        def run(caller):
            caller.run(lambda: happened.append((number, threading.current_thread())))
            return number

        return run

    for number in side_by_side([piece(1), piece(2), piece(3)], at_once):
        assert number in [one for one, _ in happened]

    assert [one for one, _ in happened].count(2) == 1
    assert {thread for _, thread in happened} == {threading.current_thread()}


def test_who_asks_for_no_more_results_leaves_nothing_running():
    def endless(caller):
        while not caller.cancelled():
            threading.Event().wait(0.01)

    results = side_by_side([numbered(1), endless, endless], 2)
    next(results)
    results.close()

    assert not [one for one in threading.enumerate() if one.name.startswith("piece")]


def test_stages_of_pieces_side_by_side_add_up_to_the_time_by_the_clock():
    both = threading.Barrier(2)

    def piece(caller):
        with stage("inner"):
            both.wait(60)
            threading.Event().wait(0.2)
        threading.Event().wait(0.1)

    with recorded_stages() as whole, recorded_stages() as times, stage("outer"):
        list(side_by_side([piece, piece], 2))

    assert times.calls == {"outer": 1, "inner": 2}
    assert times.seconds["inner"] >= 0.15
    assert times.seconds["outer"] >= 0.08
    with recorded_stages() as again, stage("outer"):
        threading.Event().wait(0.01)
    assert set(again.seconds) == {"outer"}
    assert whole.seconds == {}
