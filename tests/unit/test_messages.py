"""docs/messages.md lists every text of the program, so that all can be read in one go."""

import messages


def test_the_page_lists_the_texts_of_the_program() -> None:
    again = "PYTHONPATH=tests python -m messages   writes it anew"
    assert messages.PAGE.read_text(encoding="utf-8") == messages.page(), again
