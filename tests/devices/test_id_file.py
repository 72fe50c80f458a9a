from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.devices.id_file import MAX_LINE_BYTES, MAX_TEXT, TOO_LONG, IdReader, Keyed, Line, Malformed, content_of

A, B = "53ff6f066667574834212367", "0123456789abcdef01234567"

lines_of_a_file = st.lists(
    st.one_of(
        st.sampled_from(
            [
                *(A, A.upper(), f"  {B}\t", f"{A},TUlH", f" {B} ; TUlH", f"{A}\tx"),
                *("", "   ", "nonsense", "x" * (MAX_LINE_BYTES + 1), "\ufeff", "é" * 310),
            ]
        ),
        st.text(max_size=40),
    ),
    max_size=12,
)
breaks = st.sampled_from(["\n", "\r\n"])


def read(data: bytes, cuts: list[int], reader: IdReader | None = None) -> list[Line]:
    reader = reader or IdReader()
    edges = [0, *sorted(cuts), len(data)]
    found = [line for a, b in pairwise(edges) for line in reader.feed(data[a:b])]
    return [*found, *reader.finish()]


def test_mark_crlf_blanks_blank_lines_and_case_are_forgiven():  # DEV-1
    data = b"\xef\xbb\xbf" + f"{A}\r\n\r\n   \n \t{B.upper()} \nnope".encode()
    assert read(data, []) == [
        Line(1, A, 29),
        Line(2, None, 31),
        Line(3, None, 35),
        Line(4, B, 63),
        Line(5, Malformed("nope"), 67),
    ]


def test_a_mark_is_forgiven_at_the_beginning_only():
    assert read(f"{A}\n\ufeff{B}\n".encode(), [])[1].content == Malformed("\N{REPLACEMENT CHARACTER}" + B)


def test_an_empty_file_has_no_lines():
    assert read(b"", []) == []


def test_a_malformed_line_is_cut_and_made_printable():
    assert content_of(b"a\x00b\xff" + b"c" * 100) == Malformed("a\ufffdb\ufffd" + "c" * (MAX_TEXT - 4))


def test_a_line_that_is_too_long_is_malformed_even_if_an_id_is_on_it():
    longest = A.encode() + b" " * (MAX_LINE_BYTES - len(A))
    assert content_of(longest) == A
    assert content_of(longest + b" ") == Malformed(A, TOO_LONG)
    assert read(b" " * 10_000 + A.encode() + b"\n" + B.encode(), [])[0].content == Malformed("", TOO_LONG)


@pytest.mark.parametrize("between", [",", ";", "\t", " ", "   ", " , ", "\t;", ", "])
def test_a_key_may_stand_behind_an_id(between: str):
    assert content_of(f" {A.upper()}{between}TUlH+/== \r".encode()) == Keyed(A, "TUlH+/==")


@pytest.mark.parametrize("end", [",", ";", " ;", "\t,  "])
def test_an_empty_column_is_no_key(end: str):
    assert content_of(f"{A}{end}".encode()) == A


@pytest.mark.parametrize("line", [f"{A}TUlH", f"{A}:TUlH", f"{A[:-1]},TUlH", f"TUlH,{A}", f",{A}", f"{A}\r{B}"])
def test_a_line_that_does_not_begin_with_an_id_is_malformed_whatever_is_on_it(line: str):
    assert isinstance(content_of(line.encode()), Malformed)


def test_an_id_with_a_key_of_twice_the_length_is_no_line_too_long():
    assert content_of(f"{A},{'A' * 392}".encode()) == Keyed(A, "A" * 392)


def test_a_huge_line_is_never_kept():
    reader = IdReader()
    for _ in range(64):
        assert list(reader.feed(b"x" * 16_384)) == []
        assert reader.kept_bytes <= MAX_LINE_BYTES + 1
    (line,) = reader.feed(b"\n")
    assert line == Line(1, Malformed("x" * MAX_TEXT, TOO_LONG), 64 * 16_384 + 1)


@given(lines_of_a_file, breaks, st.booleans(), st.booleans(), st.data())
def test_any_cut_of_a_file_gives_the_same_lines(
    texts: list[str], line_break: str, marked: bool, ends: bool, data: st.DataObject
):
    text = line_break.join(texts) + (line_break if ends else "")
    raw = (b"\xef\xbb\xbf" if marked else b"") + text.encode(errors="replace")
    whole = read(raw, [])
    assert read(raw, data.draw(st.lists(st.integers(0, len(raw)), max_size=20))) == whole
    assert [line.number for line in whole] == list(range(1, len(whole) + 1))
    assert (whole[-1].end if whole else 0) == len(raw)


@given(lines_of_a_file, st.data())
def test_reading_goes_on_behind_any_line(texts: list[str], data: st.DataObject):
    raw = "\n".join(texts).encode(errors="replace")
    whole = read(raw, [])
    done = data.draw(st.integers(0, len(whole)))
    offset = whole[done - 1].end if done else 0
    assert read(raw[offset:], [], IdReader(done, offset)) == whole[done:]


@given(st.lists(st.sampled_from([A, B, "", "bad", "x" * 700]), max_size=20))
def test_there_are_as_many_lines_as_are_counted(texts: list[str]):
    raw = "\n".join(texts).encode()
    assert len(read(raw, [])) == raw.count(b"\n") + (not raw.endswith(b"\n") and bool(raw))
