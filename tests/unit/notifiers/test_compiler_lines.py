"""What a log says about files: the formats, what is none of them, and any text at all."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from notifiers import compiler_lines
from notifiers.compiler_lines import Level, Remark, in_repository, remarks
from tests.scene import RECORDINGS

E, W, N = Level.ERROR, Level.WARNING, Level.NOTE
RUST = """\
\x1b[0m\x1b[1m\x1b[38;5;9merror[E0308]\x1b[0m\x1b[0m\x1b[1m: mismatched types\x1b[0m
\x1b[0m \x1b[0m\x1b[0m\x1b[1m\x1b[38;5;12m--> \x1b[0m\x1b[0msrc/main.rs:2:18\x1b[0m
  |
2 |     let x: i32 = "1";
  |                  ^^^ expected `i32`, found `&str`

warning: unused variable: `y`
  --> src/main.rs:12:9
error: aborting due to 1 previous error
"""
RUFF = """\
F401 [*] `os` imported but unused
 --> src/app.py:1:8
  |
1 | import os
  |        ^^ F401
"""
PYTEST = """\
____ test_sum ____

    def test_sum():
>       assert total([1, 2]) == 4
E       assert 3 == 4
E        +  where 3 = total([1, 2])

tests/test_sum.py:5: AssertionError
=== short test summary info ===
FAILED tests/test_sum.py::test_sum - assert 3 == 4
"""
PYTEST_SHORT = """\
tests/test_sum.py:5: in test_sum
    assert total([1, 2]) == 4
src/sums.py:9: in total
    return helper()
/usr/lib/python3/site-packages/helper.py:3: in helper
    raise KeyError("x")
E   KeyError: 'x'
"""
TRACEBACK = """\
Traceback (most recent call last):
  File "/workspace/source/app.py", line 3, in <module>
    run()
  File "/workspace/source/lib/run.py", line 7, in run
    json.loads("")
  File "/usr/lib/python3.11/json/__init__.py", line 346, in loads
    return _default_decoder.decode(s)
           ^^^^^^^^^^^^^^^^^^^^^^^^^^
json.decoder.JSONDecodeError: Expecting value: line 1 column 1 (char 0)
  File "not/a/traceback.py", line 1
and then something else
"""


def read(log: str) -> list[tuple[str, int, int | None, Level, str]]:
    return [(r.path, r.line, r.column, r.level, r.message) for r in remarks(log)]


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        ("src/main.c:12:5: error: expected ; before }", ("src/main.c", 12, 5, E, "expected ; before }")),
        ("./a.c:3: fatal error: x.h: No such file", ("a.c", 3, None, E, "x.h: No such file")),
        ("a.cc:3:9: warning: unused 'x' [-Wunused]", ("a.cc", 3, 9, W, "unused 'x' [-Wunused]")),
        ("a.cc:3:9: note: declared here", ("a.cc", 3, 9, N, "declared here")),
        ("Makefile:4: warning: overriding recipe", ("Makefile", 4, None, W, "overriding recipe")),
        ("./main.go:7:2: undefined: foo", ("main.go", 7, 2, E, "undefined: foo")),
        ("vet: ./main.go:6:1: expected declaration", ("main.go", 6, 1, E, "expected declaration")),
        ("app.py:12: error: Name 'x' is not defined  [name-defined]", ("app.py", 12, None, E, "Name 'x' is not defined  [name-defined]")),
        ("app.py:12:5:12:9: error: Bad  [misc]", ("app.py", 12, 5, E, "Bad  [misc]")),
        ("src/a.py:1:8: F401 [*] `os` imported but unused", ("src/a.py", 1, 8, E, "F401 [*] `os` imported but unused")),
        ("a.py:1:0: C0114: Missing docstring", ("a.py", 1, None, W, "C0114: Missing docstring")),
        ("src/a.ts(3,7): error TS2322: Type 'x'", ("src/a.ts", 3, 7, E, "TS2322: Type 'x'")),
        ("app/(shop)/[id]/page.tsx(3,7): error TS1: x", ("app/(shop)/[id]/page.tsx", 3, 7, E, "TS1: x")),
        ("src/a.ts:1:7 - error TS2322: Type 'x'", ("src/a.ts", 1, 7, E, "TS2322: Type 'x'")),
        ("src\\Program.cs(5,13): warning CS0168: unused", ("src/Program.cs", 5, 13, W, "CS0168: unused")),
        ("x.c(5) : error C2065: 'x': undeclared", ("x.c", 5, None, E, "C2065: 'x': undeclared")),
        ("src/Main.java:3: error: ';' expected", ("src/Main.java", 3, None, E, "';' expected")),
        ("[WARNING] /workspace/source/src/App.java:[12,5] deprecated", ("src/App.java", 12, 5, W, "deprecated")),
        ("[build : mvn] [ERROR] src/App.java:[12,5] no symbol", ("src/App.java", 12, 5, E, "no symbol")),
        ("./a.yml:1:1: [warning] missing document start", ("a.yml", 1, 1, W, "missing document start")),
        ("a.sh:3:5: note: Double quote [SC2086]", ("a.sh", 3, 5, N, "Double quote [SC2086]")),
        ("src/Main.hs:3:5: error: [GHC-88464]", ("src/Main.hs", 3, 5, E, "[GHC-88464]")),
        ("a.c:3:5: error:", ("a.c", 3, 5, E, "error")),
        ("[build : compile] src/main.c:12:5: error: x", ("src/main.c", 12, 5, E, "x")),
        ("\x1b[01m\x1b[Ka.c:1:2:\x1b[m\x1b[K \x1b[01;31m\x1b[Kerror: \x1b[m\x1b[Kx", ("a.c", 1, 2, E, "x")),
        ("a.c:1:2: error: x [\x1b]8;;https://gcc.gnu.org/\x1b\\-Wx\x1b]8;;\x1b\\]", ("a.c", 1, 2, E, "x [-Wx]")),
        ("50%\r100%\ra.c:1:2: error: x\r\n", ("a.c", 1, 2, E, "x")),
        ("/workspace/source/src/a.c:1:2: error: x", ("src/a.c", 1, 2, E, "x")),
        ("a.c:1:0: error: no column", ("a.c", 1, None, E, "no column")),
        (RUFF, ("src/app.py", 1, 8, E, "F401 [*] `os` imported but unused")),
        (PYTEST, ("tests/test_sum.py", 5, None, E, "assert 3 == 4")),
        (PYTEST_SHORT, ("src/sums.py", 9, None, E, "KeyError: 'x'")),
        (TRACEBACK, ("lib/run.py", 7, None, E, "json.decoder.JSONDecodeError: Expecting value: line 1 column 1 (char 0)")),
        ('  File "a.py", line 1\n    def f(\n         ^\nSyntaxError: \'(\' was never closed', ("a.py", 1, None, E, "SyntaxError: '(' was never closed")),
    ],
)  # fmt: skip
def test_formats(log: str, expected: tuple[Any, ...]) -> None:
    assert read(log) == [expected]


def test_rustc_says_what_above_and_where_below() -> None:
    assert read(RUST) == [
        ("src/main.rs", 2, 18, E, "E0308: mismatched types"),
        ("src/main.rs", 12, 9, W, "unused variable: `y`"),
    ]


def test_a_recorded_compiler() -> None:
    log = (RECORDINGS / "logs" / "service-xyz-run-fail1-build-pod.step-compile.log").read_text()
    assert read(log) == [("src/main.c", 12, 5, E, "expected ; before }")]


@pytest.mark.parametrize(
    "line",
    [
        "",
        "make: *** [Makefile:12: all] Error 1",
        "In file included from a.h:1:",
        "12:30:45: error: no disk",
        "2026-01-01T12:30:45: error: no disk",
        "localhost:8080: error: refused",
        "db.example.com:5432: error: refused",
        "127.0.0.1:80:12: error: refused",
        "https://example.com:80:1: error: x",
        "a.c:0:1: error: line zero",
        "a.c:9999999999:1: error: line of ten digits",
        "a.c:x:1: error: no number",
        "main.go:12: a log line",
        "    main_test.go:12: relative to its package",
        "app.log:12:05:33: started",
        "C:\\src\\a.c:1:2: error: x",
        "    at run (/workspace/source/a.js:3:5)",
        "  --> src/main.rs:1:2",
        "/workspace/a.c:1:2: error: directly in no workspace",
        "foo(12): error: no file",
        "Traceback (most recent call last):\nValueError: x",
        "E   alone",
    ],
)
def test_what_is_no_message_about_a_file(line: str) -> None:
    assert read(line) == []


@pytest.mark.parametrize(
    ("path", "relative"),
    [
        ("./src/./a.c", "src/a.c"),
        ("src//a.c", "src/a.c"),
        ("/workspace/source/a.c", "a.c"),
        ("/workspace/my-repo/x/Makefile", "x/Makefile"),
        ("/workspace/source/../../etc/passwd", None),
        ("../a.c", None),
        ("src/../a.c", None),
        ("/workspace", None),
        ("/workspace/", None),
        ("/workspace//a.c", None),
        ("/workspace/source/", None),
        ("/tekton/scripts/script-0-abcde", None),
        ("/usr/include/stdio.h", None),
        ("//workspace/source/a.c", None),
        (".venv/lib/site-packages/x.py", None),
        ("node_modules/x/index.js", None),
        ("a/\u202etxt.c", None),
        ("x" * 2000 + ".c", None),
        (".eslintrc", ".eslintrc"),
        ("", None),
        (".", None),
    ],
)
def test_a_path_is_the_repositorys_own_or_none(path: str, relative: str | None) -> None:
    assert in_repository(path) == relative


def test_errors_come_first_and_each_once() -> None:
    log = "a.c:1:1: note: n\na.c:2:1: warning: w\na.c:3:1: error: e\na.c:3:1: error: e\na.c:4: error: e\n"
    assert [(r.line, r.level) for r in remarks(log)] == [(3, E), (4, E), (2, W), (1, N)]


def test_of_a_very_long_line_the_beginning_is_read() -> None:
    (found,) = remarks("a.c:1:2: error: " + "x" * 900_000)
    assert len(found.message) < compiler_lines.LONGEST_LINE


PIECES = [
    "a.c", "src/", "/workspace/source/", ":", "1", "23", "(", ")", ",", "[", "]", " ", "error", "warning", "-->", "  ", "E  ", "\n", "\r", "\x1b[",
    "\x1b]8;;", "m", ": ", '  File "', '", line ', "Traceback (most recent call last):", "..", "\\", "\x00", "\ud800", "💥", ".py", "in x", "[a : b] ",
]  # fmt: skip


@settings(max_examples=300)
@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=3)).map("".join))
def test_any_text_gives_messages_that_a_host_can_take(log: str) -> None:
    found = remarks(log)
    assert len(set(found)) == len(found)
    for remark in found:
        assert in_repository(remark.path) == remark.path
        assert not remark.path.startswith("/")
        assert remark.line > 0
        assert remark.column is None or remark.column > 0
        assert remark.message.strip()
        assert not re.search(r"[\x00-\x08\n\r\x1b]", remark.message)
        remark.message.encode()


@given(
    st.sampled_from(["a.c", "src/b.go", "x/y.z/Makefile"]),
    st.integers(1, 10**9 - 1),
    st.integers(1, 10**9 - 1),
    st.sampled_from(Level),
)
def test_what_is_written_is_read(path: str, line: int, column: int, level: Level) -> None:
    assert remarks(f"{path}:{line}:{column}: {level.value}: what") == [
        Remark(path=path, line=line, column=column, level=level, message="what")
    ]


def test_no_pattern_can_go_back_far() -> None:
    """Time that grows with the log only: what may be repeated without a bound gives nothing back."""
    parser: Any = importlib.import_module("re._parser")  # private, and what knows
    patterns = [value for value in vars(compiler_lines).values() if isinstance(value, re.Pattern)]
    assert len(patterns) > 10
    for pattern in patterns:
        limits = _repeats(parser.parse(pattern.pattern, pattern.flags))
        assert not [limit for limit in limits if limit > 12], pattern


def _repeats(parsed: Any) -> Iterator[int]:
    """The upper bound of each repetition that could give something back."""
    for operation, argument in parsed:
        if str(operation) in ("MAX_REPEAT", "MIN_REPEAT"):
            yield int(argument[1])
        yield from _inside(argument)


def _inside(argument: Any) -> Iterator[int]:
    for part in argument if isinstance(argument, tuple | list) else (argument,):
        if hasattr(part, "data"):  # a pattern within
            yield from _repeats(part)
        elif isinstance(part, tuple | list):
            yield from _inside(part)
