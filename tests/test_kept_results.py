"""Results of benchmarks are kept as they come, and what was cut off spoils no other."""

from pathlib import Path

from benchmarks import kept_results


def test_what_was_kept_is_read_and_what_was_cut_off_is_not(tmp_path: Path) -> None:
    lines = tmp_path / "folder" / "lines.jsonl"
    assert list(kept_results.read(lines)) == list(kept_results.read(None)) == []
    kept_results.keep({"n": 1}, lines)
    kept_results.keep({"n": 2}, lines)
    lines.write_text(lines.read_text() + '7\n{"n": 3, "m')
    kept_results.keep({"n": 4}, lines)
    assert list(kept_results.read(lines)) == [{"n": 1}, {"n": 2}, {"n": 4}]


def test_without_a_file_nothing_is_kept(tmp_path: Path) -> None:
    kept_results.keep({"n": 1}, None)
    assert list(tmp_path.iterdir()) == []
