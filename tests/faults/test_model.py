"""The model, on SQLite; `make test-faults` runs it on both databases, and longer."""

from conftest import NewStore
from faults.model import play


def test_every_invariant_holds_for_any_sequence_of_steps(new_sqlite: NewStore) -> None:
    tally = play(new_sqlite, examples=12, steps=25, seed_=1)
    assert tally.sequences >= 12
    assert tally.steps["refund"] > 10
