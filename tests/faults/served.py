"""`rotoscope serve` with a clock that the test moves and, for mutation tests, planted bugs.

    python -m tests.faults.served CLOCK_FILE [MUTANT]

Nothing of this is in the product: it is changed from outside before it starts.
"""

import sys
from pathlib import Path

from tests.faults.clock import shift_clock
from tests.faults.mutants import plant

if __name__ == "__main__":
    shift_clock(Path(sys.argv[1]))
    for mutant in sys.argv[2:]:
        plant(mutant)
    # Only now: what is imported takes hold of the clock and of the statements.
    from rotoscope.cli import app
    from rotoscope.web import sender

    # As often as the product, but not for a day: two refusals would outlast the run.
    sender.PAUSES_S = tuple(min(pause, 2.0) for pause in sender.PAUSES_S)
    app(["serve"])
