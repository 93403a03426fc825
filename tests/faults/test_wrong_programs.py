"""Each short story holds, and each defective program is caught by the story about its missing mechanism."""

import pytest

from desk import Desk
from faults.short_stories import STORIES, Story, broken_promises
from faults.wrong_programs import WRONG_PROGRAMS, WrongProgram


@pytest.mark.parametrize("story", STORIES.values(), ids=lambda story: story.name)
def test_a_short_story_breaks_no_promise(sqlite_desk: Desk, story: Story) -> None:
    assert broken_promises(story, sqlite_desk) == []


@pytest.mark.parametrize("program", WRONG_PROGRAMS, ids=lambda program: program.name)
def test_a_wrong_program_is_caught(sqlite_desk: Desk, program: WrongProgram) -> None:
    broken = broken_promises(STORIES[program.stories[0]], sqlite_desk, program.spoil)
    # A crash of the program proves nothing: an invariant must be violated.
    assert [sentence for sentence in broken if sentence.startswith(("I", "R"))], broken


def test_every_story_is_one_that_some_wrong_program_breaks() -> None:
    needed = {name for program in WRONG_PROGRAMS for name in program.stories}
    assert set(STORIES) - needed == {"a record is undone"}
