import csv
import io

from atrous.system.text import csv_text, printable


def test_what_is_no_text_is_escaped():
    assert printable("a\nb\x1b[31m\udcff Ж <b>") == r"a\nb\x1b[31m\udcff Ж <b>"
    assert printable("a\nb\x1b", keep="\n") == "a\nb\\x1b"
    assert printable(2.5) == "2.5"


def test_a_table_is_read_as_it_was_written():
    rows = [["a,b", 'say "x"'], ["two\nlines", None], [0.1 + 0.2, "\udcff"]]
    text = csv_text(["name", "value"], rows)
    assert list(csv.reader(io.StringIO(text))) == [
        ["name", "value"],
        ["a,b", 'say "x"'],
        [r"two\nlines", ""],
        ["0.30000000000000004", r"\udcff"],
    ]
    assert text.endswith("\n")
    assert "\r" not in text
