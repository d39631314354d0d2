"""JSON that others have written: what can't be read is a ValueError in one line, and costs itself alone."""

import json

import pytest

from vlmguard_plugin import reading
from vlmguard_plugin.reading import json_lines, parsed_json, read_json


@pytest.mark.parametrize("depth, refused", [(1, False), (100, False), (101, True), (900, True), (200_000, True)])
@pytest.mark.parametrize("opened, closed", [("[", "]"), ('{"a":', "}")])
def test_depth(depth, refused, opened, closed):
    text = opened * depth + ("" if opened == "[" else "1") + closed * depth
    if not refused:
        assert json.dumps(parsed_json(text), separators=(",", ":")) == text
        return
    with pytest.raises(ValueError, match="nested more than 100 deep"):
        parsed_json(text)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[1", b"\x00", b"1" * 5000 + b"x"])
def test_what_is_no_json(content, tmp_path):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(ValueError):
        read_json(tmp_path / "a.json")


def test_lines_end_at_a_line_feed_alone(tmp_path):
    words = "a\u2028b\u0085c\x0bd\x0ce\x1cf\u2029g"
    lines = [json.dumps({"said": words}, ensure_ascii=False), "  ", "[" * 5000, '{"said": "next"}\r']
    (tmp_path / "a.jsonl").write_bytes("\n".join(lines).encode() + b'\n{"torn": "\xff')
    read = dict(json_lines(tmp_path / "a.jsonl"))
    assert read[1] == {"said": words} and read[4] == {"said": "next"}
    assert list(read) == [1, 3, 4, 5] and all(isinstance(read[number], ValueError) for number in (3, 5))


def test_a_file_that_is_too_large(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "MAX_BYTES", 10)
    (tmp_path / "a.json").write_text('["012345"]')
    assert read_json(tmp_path / "a.json") == ["012345"]
    (tmp_path / "a.json").write_text('["0123456"]')
    with pytest.raises(ValueError, match="a.json has 11 bytes; at most 10 are read"):
        read_json(tmp_path / "a.json")
