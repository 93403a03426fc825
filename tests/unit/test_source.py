"""Input files and streams: checked to be text before any row is read."""

import io
import os
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from refundcli.domain.errors import Family
from refundcli.files.source import FileChanged, FileNotThere, FileProblem, NotUtf8, Source, open_source


def _source(path: Path, content: bytes) -> Source:
    path.write_bytes(content)
    return open_source(str(path), io.BytesIO())


def _lines(source: Source) -> Iterator[str]:
    with source.text() as text:
        yield from text


def test_a_file_is_known_by_the_hash_of_its_bytes(tmp_path: Path) -> None:
    with _source(tmp_path / "a.csv", b"number\n") as source:
        assert source.sha256 == sha256(b"number\n").hexdigest()
        assert source.sha256[:16] in source.label
        assert source.size == 7


def test_a_byte_order_mark_is_passed_over(tmp_path: Path) -> None:
    with _source(tmp_path / "a.csv", b"\xef\xbb\xbfnumber\n") as source, source.text() as text:
        assert text.read() == "number\n"


def test_line_ends_are_left_as_they_are(tmp_path: Path) -> None:
    with _source(tmp_path / "a.csv", b"a\r\nb\rc\n") as source, source.text() as text:
        assert text.read() == "a\r\nb\rc\n"


def test_a_stream_can_be_read_twice() -> None:
    with open_source("-", io.BytesIO(b"one\ntwo\n")) as source:
        for _ in range(2):
            with source.text() as text:
                assert text.read() == "one\ntwo\n"
        assert source.name == "standard input"
        assert not source.is_file


def test_a_buffered_stream_is_private_and_deleted() -> None:
    with open_source("-", io.BytesIO(b"secret\n")) as source:
        assert source.path.stat().st_mode & 0o777 == 0o600
    assert not source.path.exists()


def test_a_named_pipe_is_read_once_and_buffered(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.write(writing, b"number\n")
    os.close(writing)
    with open_source(f"/dev/fd/{reading}", io.BytesIO()) as source, source.text() as text:
        assert text.read() == "number\n"
        assert not source.is_file
    os.close(reading)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_utf_16_is_named_with_the_way_to_save_it(tmp_path: Path, encoding: str) -> None:
    with pytest.raises(NotUtf8, match="UTF-16") as problem:
        _source(tmp_path / "a.csv", "number,customer\nINV-1,cus_1\n".encode(encoding))
    assert "CSV UTF-8" in problem.value.hint


def test_a_byte_that_is_not_utf_8_is_named_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(NotUtf8, match=r"line 3: the byte 0xe9 is not UTF-8") as problem:
        _source(tmp_path / "a.csv", b"number\nINV-1\nCaf\xe9\n")
    assert problem.value.context["line"] == 3


def test_a_text_cut_off_inside_a_character_is_not_utf_8(tmp_path: Path) -> None:
    with pytest.raises(NotUtf8):
        _source(tmp_path / "a.csv", b"number\n\xc3")


def test_a_character_that_spans_two_pieces_is_read_whole(tmp_path: Path) -> None:
    content = b"x" * (1024 * 1024 - 1) + "é".encode()
    with _source(tmp_path / "a.csv", content) as source:
        assert source.size == len(content)


def test_a_spreadsheet_is_not_read_as_text(tmp_path: Path) -> None:
    with pytest.raises(NotUtf8, match="spreadsheet"):
        _source(tmp_path / "a.csv", b"PK\x03\x04rest")


def test_a_file_that_is_not_there_is_a_usage_problem(tmp_path: Path) -> None:
    with pytest.raises(FileNotThere, match=r"nothing\.csv") as problem:
        open_source(str(tmp_path / "nothing.csv"), io.BytesIO())
    assert problem.value.family is Family.USAGE


@pytest.mark.parametrize("name", ["", "a\0b", "."])
def test_a_missing_file_is_reported_plainly(name: str) -> None:
    with pytest.raises(FileProblem):
        open_source(name, io.BytesIO())


def test_a_file_that_changes_between_two_readings_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    with _source(path, b"one\n") as source:
        path.write_bytes(b"another\n")
        with pytest.raises(FileChanged), source.text():
            pass


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    with _source(path, b"one\n") as source:
        lines = _lines(source)
        assert next(lines) == "one\n"
        path.write_bytes(b"one\ntwo\n")
        with pytest.raises(FileChanged):
            list(lines)
