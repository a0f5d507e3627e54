from __future__ import annotations

from pathlib import Path

from florilegium.engine.untrusted.traces import traceback_of


def fail(depth: int, message: str = "not to my taste") -> None:
    if depth:
        fail(depth - 1, message)
    raise ValueError(message)


def caught(depth: int = 0, message: str = "not to my taste") -> Exception:
    try:
        fail(depth, message)
    except ValueError as error:
        return error
    raise AssertionError("unreachable")


def test_a_traceback_has_file_line_function_code_and_error() -> None:
    lines = traceback_of(caught()).splitlines()
    assert lines[-1] == "ValueError: not to my taste"
    assert lines[-2] == "    raise ValueError(message)"
    line = Path(__file__).read_text().splitlines().index("    raise ValueError(message)") + 1
    assert lines[-3] == f"  untrusted/test_traces.py, line {line}, in fail"


def test_no_path_of_this_machine_is_in_it() -> None:
    assert str(Path(__file__).parent) not in traceback_of(caught(3))


def test_frames_of_who_only_passed_the_call_on_are_left_out() -> None:
    assert traceback_of(caught(), above=(__file__,)) == "ValueError: not to my taste"


def failing_for(cause: Exception, *, is_shown: bool) -> Exception:
    try:
        try:
            raise cause
        except ValueError as error:
            raise KeyError("weights") from (error if is_shown else None)
    except KeyError as error:
        return error


def test_a_cause_comes_first() -> None:
    trace = traceback_of(failing_for(ValueError("broken"), is_shown=True))
    assert trace.index("ValueError: broken") < trace.index("KeyError: 'weights'")


def test_a_cause_that_is_not_to_be_told_is_not() -> None:
    assert "ValueError" not in traceback_of(failing_for(ValueError("broken"), is_shown=False))


def test_its_length_is_bounded_and_its_end_stays() -> None:
    assert traceback_of(caught(200)).startswith("  ... 190 more\n")
    trace = traceback_of(caught(0, "x" * 10_000 + "end"))
    assert len(trace) == 4000
    assert trace.endswith("xend")


def test_letters_that_no_file_takes_are_replaced() -> None:
    assert traceback_of(caught(0, "\ud800")).endswith("ValueError: ?")
