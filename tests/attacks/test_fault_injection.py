"""Attack: each C library call of a daemon fails once, for lack of disk space, memory, descriptors or processes.

The daemon keeps running, the request succeeds or is refused with a message, a retry succeeds, and nothing is left.
"""

import os

import pytest

from tests.attacks import fault_injection as faults

EVERY = int(os.environ.get("NETD_FAULTS_EVERY", "4"))
"""The fraction of points to run: one in this number; 0 runs all, with every error and every repetition of a call."""


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return faults.build(tmp_path_factory.mktemp("faults"))


def begin(library):
    place = faults.Place(library)
    place.prepare()
    return place


@pytest.mark.timeout(120 if EVERY > 2 else 3600)
@pytest.mark.parametrize("daemon", faults.DAEMONS)
def test_a_call_that_fails_is_told_and_leaves_nothing(library, daemon):
    place = begin(library)
    found, tried, unfired = [], 0, 0
    try:
        scripts = faults.find_points(place)
        every = min(EVERY, 1) if daemon == "netd.dns" else EVERY  # it has few
        before = place.look()
        for script, points in scripts.items():
            for point in faults.sample([point for point in points if point.daemon == daemon], every):
                wrong = faults.attempt(place, script, point, before)
                tried += 1
                unfired += not place.faults[daemon].disarm()
                if wrong:
                    found.append(f"{point}: {'; '.join(wrong)}")
                    print(found[-1], flush=True)
                    place.destroy()
                    place = begin(library)
                    before = place.look()
    finally:
        place.destroy()
    print(f"{daemon}: tried={tried} unfired={unfired} found={len(found)}")
    assert tried and unfired < tried / 2
    assert not found, "\n".join(found)


@pytest.mark.timeout(120 if EVERY > 2 else 3600)
@pytest.mark.parametrize("daemon", ["netd", "runtime"])
def test_a_call_that_fails_at_a_start_is_told_and_the_next_start_is_as_ever(library, daemon):
    place = begin(library)
    try:
        for step in faults.CONTAINER[:2]:
            status, answer = step.do(place)
            assert status < 400, answer
        before = place.look()
        points = faults.sample(faults.find_points_of_start(place, daemon), EVERY)
        found = [f"{point}: {wrong}" for point in points if (wrong := faults.attempt_start(place, point, before))]
        print(f"{daemon}: starts={len(points)} found={len(found)}")
        assert points and not found, "\n".join(found)
    finally:
        place.destroy()
