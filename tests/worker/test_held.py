"""Which sets of LoRAs a worker says it has at hand."""

from rotoscope.worker.held import MOST, Held


def test_the_last_sets_are_held() -> None:
    """Used again, a set stays longer; a job without LoRAs has none."""
    held = Held()
    for number in range(MOST):
        held.note(str(number))
    held.note("0")
    held.note("")
    held.note("new")
    assert held.sets == (*map(str, range(2, MOST)), "0", "new")
