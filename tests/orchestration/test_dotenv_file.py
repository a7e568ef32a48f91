"""The forms of .env: which are read, which are refused, and what an edit leaves alone."""

import stat

import pytest

from orchestration import StackError, dotenv_file


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("PRICE=$HOME", "a $ is expanded"),
        ("PRICE=${HOME}/x", "a $ is expanded"),
        ('PRICE="a$b"', "a $ is expanded"),
        (r'PATTERN="a\nb"', "a backslash is dropped by some readers"),
        ("KEY: value", "not of the form KEY=value"),
        ("KEY", "KEY has no '='"),
        ("export KEY=v", "not of the form KEY=value"),
        ("KEY='a' b", "text after the closing quote"),
        ('KEY="a" # why', "text after the closing quote"),
        ("KEY='a", "a quote is not closed"),
        ('KEY="a', "a quote is not closed"),
        ("KEY='", "a quote is not closed"),
        ("KEY=value # why", "a comment behind a value"),
        ("1KEY=value", "not of the form KEY=value"),
        ("= value", "not of the form KEY=value"),
    ],
)
def test_a_form_that_readers_take_differently_is_refused_with_its_line(line, why):
    with pytest.raises(StackError) as refused:
        dotenv_file.parse(f"GOOD=1\n# a comment\n{line}\nLAST=1\n")
    told = str(refused.value).splitlines()
    assert told[0].startswith(".env is not read alike")
    assert len(told) == 2
    assert told[1].startswith("  line 3: ")
    assert why in told[1]


def test_all_refused_lines_are_told_at_once_and_the_file_is_named():
    with pytest.raises(StackError) as refused:
        dotenv_file.parse("A\nB=fine\nC=$x\n\nD='open\n", "the.file")
    told = str(refused.value)
    assert told.startswith("the.file ")
    assert [line.split(":")[0].strip() for line in told.splitlines()[1:]] == [
        "line 1",
        "line 3",
        "line 5",
    ]


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
    ],
)
def test_a_form_that_all_readers_take_alike_is_read(line, value):
    assert dotenv_file.parse(f"# first\n\n{line}\n") == {"KEY": value}


def test_windows_line_ends_are_read_as_any_other():
    assert dotenv_file.parse("# first\r\nA=1\r\n\r\nB='two'\r\nC=\r\n") == {
        "A": "1",
        "B": "two",
        "C": "",
    }


def test_a_comment_behind_a_blank_value_is_refused():
    with pytest.raises(StackError):
        dotenv_file.parse("KEY= # why\n")


def test_export_is_refused():
    with pytest.raises(StackError):
        dotenv_file.parse("export KEY=value\n")


def test_only_blanks_are_filled_and_every_other_byte_stays():
    text = "# note\n\nSET=kept  \nBLANK=\n\t garbage \x01 line\nOTHER=\r\nODD='kept'\r\nSPACE= \n"
    values = {"SET": "new", "BLANK": "filled", "ODD": "new", "SPACE": "filled"}
    expected = text.replace("BLANK=", "BLANK=filled").replace("SPACE= ", "SPACE=filled")
    assert dotenv_file.fill(text, values) == expected


def test_a_marker_other_than_blank_can_be_replaced():
    assert dotenv_file.fill("A=auto\nB=autos\nC=\n", dict.fromkeys("ABC", "4"), ("auto",)) == (
        "A=4\nB=autos\nC=\n"
    )


def test_a_commented_setting_is_not_filled():
    assert dotenv_file.fill("#A=\n# A=\n", {"A": "x", "#A": "y"}) in ("#A=\n# A=\n", "#A=y\n# A=\n")
    assert dotenv_file.fill("# A=\n", {"A": "x"}) == "# A=\n"


EXAMPLE = """# The head of the file.

# what one is
# and why
ONE=1
# what two and three are
TWO=2
THREE=3
"""


def test_missing_settings_come_with_the_comment_above_them():
    assert dotenv_file.missing_blocks(EXAMPLE, {"TWO": "x", "THREE": ""}) == (
        "# what one is\n# and why\nONE=1\n"
    )


def test_the_comment_of_a_setting_that_is_there_stays_away():
    assert dotenv_file.missing_blocks(EXAMPLE, {"ONE": "", "TWO": ""}) == "THREE=3\n"


def test_nothing_is_missing_where_all_names_are_present():
    assert dotenv_file.missing_blocks(EXAMPLE, dict.fromkeys(("ONE", "TWO", "THREE"), "")) == ""


def test_a_written_file_is_for_its_owner_alone_and_replaces_the_old_one(tmp_path):
    path = tmp_path / ".env"
    path.write_text("OLD=1\n")
    path.chmod(0o644)
    dotenv_file.write(path, "NEW=ö\n")
    assert path.read_text(encoding="utf-8") == "NEW=ö\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in tmp_path.iterdir()] == [".env"]
