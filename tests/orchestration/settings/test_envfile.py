"""Test parsing and editing .env: accepted and rejected syntax, and edits that keep the rest."""

import os
import stat

import hypothesis
import pytest
from hypothesis import strategies as st

from orchestration.errors import StackError
from orchestration.settings import envfile


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("PRICE=$HOME", "a $ is expanded"),
        ("PRICE=${HOME}/x", "a ${ is expanded"),
        ("PRICE='${HOME}'", "a ${ is expanded"),
        ('PRICE="a$b"', "a $ is expanded"),
        (r'PATTERN="a\nb"', "a backslash is dropped by some readers"),
        (r"PATTERN=a\nb", "a backslash is dropped by some readers"),
        (r"SHARE='\\host\share'", "a backslash before another"),
        ("FOLDER='C:\\'", "or before the closing quote"),
        ("# on windows: C:\\", "a backslash at its end"),
        ("KEY: value", "not of the form KEY=value"),
        ("KEY", "KEY has no '='"),
        ("export KEY=v", "not of the form KEY=value"),
        ("export = v", "not of the form KEY=value"),
        ("\xa0KEY=v", "not of the form KEY=value"),
        ("KEY=v\xa0", "an unusual space character"),
        ("KEY=v\u2003#w", "an unusual space character"),
        ("KEY='v'\xa0", "text after the closing quote"),
        ("KEY=v\x0bw", "the character U+000B"),
        ("KEY='v\x85w'", "the character U+0085"),
        ("KEY=v\x00", "the character U+0000"),
        ("KEY=v\rOTHER=w", "the character U+000D"),
        ("# note\rOTHER=w", "the character U+000D"),
        ("KEY=\ufffe", "the character U+FFFE"),
        ("\ufeffKEY=v", "a byte order mark"),
        ("KEY='a' b", "text after the closing quote"),
        ('KEY="a" # why', "text after the closing quote"),
        ("KEY='a", "a quote is not closed"),
        ('KEY="a', "a quote is not closed"),
        ("KEY='", "a quote is not closed"),
        ("KEY=value # why", "a comment after a value"),
        ("1KEY=value", "not of the form KEY=value"),
        ("= value", "not of the form KEY=value"),
    ],
)
def test_parse_ambiguous_line_is_rejected_with_its_number(line, why):
    with pytest.raises(StackError) as error:
        envfile.parse(f"GOOD=1\n# a comment\n{line}\nLAST=1\n")
    [problem] = error.value.problems
    first, reason = problem.cause.splitlines()
    assert first.startswith(".env has lines")
    assert reason.startswith("  line 3: ")
    assert why in reason


def test_parse_reports_file_and_all_rejected_lines():
    with pytest.raises(StackError) as error:
        envfile.parse("A\nB=fine\nC=$x\n\nD='open\n", "the.file")
    [problem] = error.value.problems
    first, *reasons = problem.cause.splitlines()
    assert (problem.code, problem.where) == ("env-unusable", "the.file")
    assert first.startswith("the.file ")
    assert [line.split(":")[0] for line in reasons] == ["  line 1", "  line 3", "  line 5"]


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("KEY=value", "value"),
        ("KEY=", ""),
        ('KEY=""', ""),
        ("KEY='a b'", "a b"),
        ('KEY="a b"', "a b"),
        ("KEY='$HOME'", "$HOME"),
        ("KEY='a # b'", "a # b"),
        ("KEY=a#b", "a#b"),
        ("KEY=a=b", "a=b"),
        ("KEY=value   ", "value"),
        ("KEY = value", "value"),
        ("KEY=s3://bucket/a~b-c_d.e", "s3://bucket/a~b-c_d.e"),
        ("KEY='ö'", "ö"),
        ("KEY='a\\b'", "a\\b"),
        ("KEY='$5'", "$5"),
        ('KEY="a\'b"', "a'b"),
        ("KEY='a\xa0b'", "a\xa0b"),
        ("KEY=#1", "#1"),
    ],
)
def test_parse_unambiguous_line_is_accepted(line, value):
    assert envfile.parse(f"# first\n\n{line}\n") == {"KEY": value}


def test_parse_accepts_windows_line_endings():
    assert envfile.parse("# first\r\nA=1\r\n\r\nB='two'\r\nC=\r\n") == {
        "A": "1",
        "B": "two",
        "C": "",
    }


def test_parse_byte_order_mark_is_rejected():
    with pytest.raises(StackError, match="line 1: a byte order mark"):
        envfile.parse("\ufeff# a comment\nKEY=value\n")


def test_parse_counts_lines_by_newline():
    with pytest.raises(StackError, match="line 4: "):
        envfile.parse("# one\u2028still one\r\nTWO='\u2028'\r\n\r\nFOUR\r\n")


def test_parse_repeated_name_uses_last_value():
    assert envfile.parse("KEY=first\nKEY=last\n") == {"KEY": "last"}


@pytest.mark.parametrize("line", ["KEY= # why", "export KEY=value"])
def test_parse_rejects_export_and_comment_after_blank(line):
    with pytest.raises(StackError):
        envfile.parse(f"{line}\n")


def test_fill_changes_only_blank_values():
    text = "# note\n\nSET=kept  \nBLANK=\n\t garbage \x01 line\nOTHER=\r\nODD='kept'\r\nSPACE= \n"
    values = {"SET": "new", "BLANK": "filled", "ODD": "new", "SPACE": "filled"}
    expected = text.replace("BLANK=", "BLANK=filled").replace("SPACE= ", "SPACE=filled")
    assert envfile.fill(text, values) == expected


@pytest.mark.parametrize(
    ("line", "filled"),
    [
        ("KEY=", "KEY=new"),
        ("KEY=\r", "KEY=new\r"),
        ("KEY=''", "KEY=new"),
        ('KEY = ""\t', "KEY=new"),
        ("KEY=''\r", "KEY=new\r"),
        ("KEY=set", "KEY=set"),
        ("""KEY='"'""", """KEY='"'"""),
        ("""KEY="''" """, """KEY="''" """),
        ("KEY=' '", "KEY=' '"),
        ("KEY=\xa0", "KEY=\xa0"),
    ],
)
@pytest.mark.parametrize("end", ["", "\n"])
def test_fill_recognizes_every_form_of_blank(line, filled, end):
    assert envfile.fill(f"A=1\n{line}{end}", {"KEY": "new"}) == f"A=1\n{filled}{end}"


LINES = st.from_regex(
    r"[ \t]?(A|B|C|MINE)[ ]?=[ ]?('[^'\n]*'|\"[^\"\n]*\"|[^\n]*)\r?|#[^\n]*|", fullmatch=True
)
ACCEPTED = st.lists(LINES.filter(lambda line: not envfile.line_error(line))).map("\n".join)


@hypothesis.settings(
    max_examples=40, deadline=None, derandomize=bool(os.environ.get("CI")), database=None
)
@hypothesis.given(text=ACCEPTED, values=st.dictionaries(st.sampled_from("ABC"), st.just("new")))
def test_fill_any_file_changes_only_blank_values(text, values):
    after = envfile.fill(text, values).split("\n")
    for old, new in zip(text.split("\n"), after, strict=True):
        (name, value), *_ = [*envfile.parse(old).items(), ("", "a comment")]
        if name in values and not value:
            assert new == f"{name}=new" + "\r" * old.endswith("\r")
        else:
            assert new == old


@pytest.mark.parametrize(
    ("value", "form"),
    [("8090", "8090"), ("a b", "a b"), ("$1", "'$1'"), (" a", "' a'"), ("a #b", "'a #b'"),
     ('{"a": 1}', '{"a": 1}'), ('"', "'\"'"), ("C:\\x", "'C:\\x'")],
)  # fmt: skip
def test_written_value_is_quoted_only_if_needed(value, form):
    assert envfile.written("KEY", value) == form
    assert envfile.parse(f"KEY={form}\n") == {"KEY": value}


@pytest.mark.parametrize("value", ["it's $1", "a\nb", "${HOME}", "a\\"])
def test_written_value_without_common_form_is_refused(value):
    with pytest.raises(StackError, match="KEY in this shell cannot be written to") as error:
        envfile.written("KEY", value)
    assert value not in str(error.value)


def test_fill_replaces_other_marker():
    assert envfile.fill("A=auto\nB=autos\nC=\n", dict.fromkeys("ABC", "4"), ("auto",)) == (
        "A=4\nB=autos\nC=\n"
    )


def test_fill_ignores_comments():
    assert envfile.fill("#A=\n# A=\n", {"A": "x", "#A": "y"}) in ("#A=\n# A=\n", "#A=y\n# A=\n")
    assert envfile.fill("# A=\n", {"A": "x"}) == "# A=\n"


EXAMPLE = """# The head of the file.

# what one is
# and why
ONE=1
# what two and three are
TWO=2
THREE=3
"""


def test_missing_blocks_include_the_comment_above():
    assert envfile.missing_blocks(EXAMPLE, {"TWO": "x", "THREE": ""}) == (
        "# what one is\n# and why\nONE=1\n"
    )


def test_missing_blocks_omit_comment_of_present_setting():
    assert envfile.missing_blocks(EXAMPLE, {"ONE": "", "TWO": ""}) == "THREE=3\n"


def test_missing_blocks_of_complete_file_is_empty():
    assert envfile.missing_blocks(EXAMPLE, dict.fromkeys(("ONE", "TWO", "THREE"), "")) == ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A=1\n", "A=1\n\n# b\nB=2\n"),
        ("A=1", "A=1\n\n# b\nB=2\n"),
        ("A=1  \n\n", "A=1  \n\n\n# b\nB=2\n"),
        ("A=1\r\n", "A=1\r\n\r\n# b\r\nB=2\r\n"),
        ("A=1\r", "A=1\r\n\n# b\nB=2\n"),
        ("A=1\r\nC=3\r", "A=1\r\nC=3\r\n\r\n# b\r\nB=2\r\n"),
        ("", "\n# b\nB=2\n"),
        ("A=1\r\nC=3", "A=1\r\nC=3\r\n\r\n# b\r\nB=2\r\n"),
    ],
)
def test_append_uses_line_endings_of_the_file(text, expected):
    assert envfile.append(text, "# b\nB=2\n") == expected


def test_read_keeps_line_endings(tmp_path):
    path = tmp_path / ".env"
    path.write_bytes("A=ö\r\nB=2\n".encode())
    assert envfile.read(path) == "A=ö\r\nB=2\n"


def test_read_rejects_invalid_utf8_with_its_line(tmp_path):
    path = tmp_path / ".env"
    path.write_bytes(b"A=1\r\n# \xc3\xb6\nB=\xff\xfe\nC=\xff\n")
    with pytest.raises(StackError, match=r"^\.env has lines.*\n  line 3: not UTF-8"):
        envfile.read(path)


def test_write_keeps_line_endings(tmp_path):
    envfile.write(tmp_path / ".env", "A=1\r\nB=2\n\nC=3")
    assert (tmp_path / ".env").read_bytes() == b"A=1\r\nB=2\n\nC=3"


def test_write_replaces_file_with_mode_0600(tmp_path):
    path = tmp_path / ".env"
    path.write_text("OLD=1\n")
    path.chmod(0o644)
    envfile.write(path, "NEW=ö\n")
    assert path.read_text(encoding="utf-8") == "NEW=ö\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in tmp_path.iterdir()] == [".env"]
