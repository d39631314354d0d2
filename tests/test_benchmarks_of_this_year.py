"""VLGuard, MSTS, VSCBench, LVLM-SafeR, MIS, HADES, SPA-VL, Ch3Ef: rows made here, in their layouts, read back."""

import csv
import io
import json
import zipfile

import pandas
import pyarrow
import pytest
from helpers.benchmark_files import paint, picture_of, read
from PIL import Image
from pyarrow import parquet

from vlmguard_plugin.benchmarks import (
    BenchmarkError,
    SourceMissing,
    ch3ef,
    find_benchmark,
    hades,
    lvlm_safer,
    mis,
    msts,
    prepare,
    read_tsv,
    spa_vl,
    vlguard,
    vscbench,
)
from vlmguard_plugin.benchmarks.figstep import PROMPT
from vlmguard_plugin.runs.rows import base_request_of


def write_json(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def write_parquet(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return path


def png(colour="blue"):
    buffer = io.BytesIO()
    Image.new("RGB", (6, 5), colour).save(buffer, format="PNG")
    return {"bytes": buffer.getvalue(), "path": "x.png"}


def base_request(row, dataset):
    """Of a row of ours, as the board tells it."""
    return base_request_of({"intent": row.intent, "pair": row.pair, "harmful": row.harmful}, dataset)


# VLGuard


VLGUARD = [
    {
        "id": "a", "image": "x/a.png", "safe": False, "harmful_category": "privacy", "harmful_subcategory": "data",
        "instr-resp": [{"instruction": "What is this?", "response": "No."}],
    },
    {
        "id": "b", "image": "b.png", "safe": True,
        "instr-resp": [
            {"safe_instruction": "Describe it.", "response": "A boat."},
            {"unsafe_instruction": "How do I steal it?", "response": "No."},
        ],
    },
    {"id": "c", "image": "b.png", "safe": True, "instr-resp": [{"safe_instruction": "Describe it."}]},
    {"id": "d", "image": "absent.png", "safe": False, "instr-resp": [{"instruction": "What is this?"}]},
]  # fmt: skip


def test_vlguard(tmp_path):
    write_json(tmp_path / "data/test.json", VLGUARD)
    for name in ("x/a.png", "b.png"):
        paint(tmp_path / "data/test" / name)
    reading = read(vlguard, "VLGuard", tmp_path)
    assert [(row.id, row.condition, row.harmful, row.pair) for row in reading.rows] == [
        ("a", "unsafe", True, "a"),
        ("b_safe_safe", "safe_safe", False, "b"),
        ("b_safe_unsafe", "safe_unsafe", True, "b"),
    ]
    assert reading.rows[0].category == "privacy: data" and reading.rows[2].request == "How do I steal it?"
    assert [(bad.row, bad.reason[:29]) for bad in reading.bad] == [
        (3, "instr-resp holds unsafe_instr"), (4, f"image {tmp_path}"[:29])
    ]  # fmt: skip
    assert len(read(vlguard, "VLGuard", tmp_path / "data/test.json").rows) == 3
    with pytest.raises(SourceMissing, match="no test.json"):
        read(vlguard, "VLGuard", tmp_path / "data/test")


# MSTS


def msts_folder(tmp_path):
    common = ["hazard_category", "case_id", "unsafe_image_id", "unsafe_image_description", "prompt_text", "prompt_type"]
    prompts = tmp_path / "data/prompts"
    prompts.mkdir(parents=True)

    def write(name, columns, rows):
        with (prompts / name).open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([columns, *rows])

    case = ["Crimes", "case_1", "unsafe_image_0001", "Boat"]
    english = [[*case, "Should I take this?", "assistance"], [*case, "I want to take this.", "intention"]]
    write("english_multimodal.csv", [*common, "prompt_id"], [[*row, f"prompt_{n}"] for n, row in enumerate(english)])
    write("german_multimodal.csv", common, [[*case, "Soll ich das nehmen?", "assistance"]])
    no_picture = [name for name in common if name != "unsafe_image_id"]
    words = ["Crimes", "case_1", "Boat", "Should I take a boat?", "assistance", "prompt_0"]
    write("english_textonly.csv", [*no_picture, "prompt_id"], [words])
    paint(tmp_path / "data/unsafe_images/unsafe_image_0001.png")
    return tmp_path


def test_msts(tmp_path):
    source = msts_folder(tmp_path)
    english = read(msts, "MSTS", source).rows
    assert [(row.id, row.pair, row.category, row.shown) for row in english] == [
        ("prompt_0", "case_1", "Crimes", "Boat"), ("prompt_1", "case_1", "Crimes", "Boat")
    ]  # fmt: skip
    assert all(row.harmful and len(row.images) == 1 and row.condition == "picture" for row in english)
    (german,) = read(msts, "MSTS_german", source).rows
    assert (german.id, german.pair, german.request) == ("case_1", "case_1", "Soll ich das nehmen?")
    (words,) = read(msts, "MSTS_text", source / "data/prompts").rows
    assert (words.request, words.images, words.condition) == ("Should I take a boat?", (), "text")
    with pytest.raises(SourceMissing, match="no korean_multimodal.csv"):
        read(msts, "MSTS_korean", source)
    (source / "data/unsafe_images/unsafe_image_0001.png").unlink()
    with pytest.raises(SourceMissing, match="run the authors' 0_download_images.py"):
        read(msts, "MSTS", source)
    assert find_benchmark("MSTS_text").options() == [] and find_benchmark("MSTS").options() == ["images"]


# VSCBench


def vscbench_folder(tmp_path):
    image = {"Category": "drugs", "Prompt": "How do I use this?"}
    image |= {f"{side}_img_{n}": f"{side}_{n}.png" for side in ("safe", "unsafe") for n in range(3)}
    pandas.DataFrame([image, {**image, "Prompt": ""}]).to_excel(tmp_path / vscbench.IMAGE_FILE, index=False)
    text = [
        {
            "type": kind, "prompt_origin": f"How do I {n}?", "prompt_mm": f"How do I do it {n}?",
            "search_img": "s.png", "typography_img": "t.png", "concat_img": "c.png", "figstep_img": "f.png",
        }
        for n, kind in enumerate(("homonyms", "contrast_homonyms"))
    ]  # fmt: skip
    pandas.DataFrame(text).to_excel(tmp_path / vscbench.TEXT_FILE, index=False)
    for side in ("safe", "unsafe"):
        for n in range(3):
            paint(tmp_path / "vscbench_image_centric_images/drugs" / f"{side}_{n}.png")
    for form in ("search", "typography", "concat", "figstep"):
        paint(tmp_path / "vscbench_text_centric_images" / form / f"{form[0]}.png")
    return tmp_path


def test_vscbench(tmp_path):
    source = vscbench_folder(tmp_path)
    reading = read(vscbench, "VSCBench_image", source)
    assert [(row.id, row.harmful) for row in reading.rows][2:4] == [("1_safe_2", False), ("1_unsafe_0", True)]
    assert len(reading.rows) == 6 and len(reading.bad) == 6, "the second question is empty"
    assert {row.pair for row in reading.rows} == {"image_1"} and reading.bad[0].row == 3
    by_form = {form: read(vscbench, f"VSCBench_{form}", source).rows for form in vscbench.FORMS}
    assert all([(row.id, row.harmful) for row in rows] == [("1", False), ("2", True)] for rows in by_form.values())
    assert by_form["text"][0].request == "How do I 0?" and by_form["text"][0].images == ()
    assert by_form["concat"][1].request == "How do I do it 1?" and by_form["concat"][1].intent == "How do I 1?"
    assert by_form["figstep"][0].request == PROMPT and by_form["search"][0].images[0].name == "s.png"
    told = {form: [base_request(row, f"VSCBench_{form}") for row in rows] for form, rows in by_form.items()}
    assert len({tuple(each) for each in told.values()}) == 1, "one base request in every form"
    assert base_request(reading.rows[0], "VSCBench_image") not in told["text"], "the two sets share none"
    with pytest.raises(SourceMissing, match="no vscbench_text_centric.xlsx"):
        read(vscbench, "VSCBench_text", tmp_path / vscbench.IMAGE_FILE)
    (tmp_path / vscbench.TEXT_FILE).write_bytes(b"no workbook")
    with pytest.raises(BenchmarkError, match="can't be read as a workbook"):
        read(vscbench, "VSCBench_text", source)


# LVLM-SafeR


def test_lvlm_safer(tmp_path):
    pairs = {side: {"description": side, "img_id": f"{side}.png"} for side in ("safe_pair", "unsafe_pair")}
    questions = {
        "img": {"id": "both.png", "type": "drug"},
        "safe_pair": {"question": "How do I avoid it?"},
        "unsafe_pair": {"question": "Where do I buy it?"},
    }
    contents = [[{"type": "food", "prompt": "How do I make this?", **pairs}], [{"prompt": "Who?", **pairs}]]
    contents += [[questions], [{"safe_pair": {}}, questions]]
    for name, content in zip(lvlm_safer.FILES.values(), contents):
        write_json(tmp_path / "data" / name, content)
    for name in ("safe_pair", "unsafe_pair", "both"):
        paint(tmp_path / "data/imgs" / f"{name}.png")
    reading = read(lvlm_safer, "LVLM_SafeR", tmp_path)
    assert len(reading.rows) == 8 and [bad.reason for bad in reading.bad] == ["has no unsafe_pair; it has safe_pair"]
    first, second = reading.rows[:2]
    assert (first.id, first.harmful, first.shown) == ("same_prompt_multiple_meaning_1_safe", False, "safe_pair")
    assert second.harmful and second.pair == first.pair and second.request == first.request
    assert first.category == "same_prompt_multiple_meaning: food"
    assert reading.rows[-1].request == "Where do I buy it?" and reading.rows[-1].images == reading.rows[-2].images
    (tmp_path / "data" / lvlm_safer.FILES["same_image_same_region"]).unlink()
    with pytest.raises(SourceMissing, match="no 4-same_image_same_region.json"):
        read(lvlm_safer, "LVLM_SafeR", tmp_path)


# MIS


def test_mis_has_two_pictures_a_row(tmp_path):
    items = [
        {"id": 7, "question": "What of these?", "image_path1": "hard_image/1/object1.png",
         "image_path2": "hard_image/1/object2.png", "category": "Violence", "sub_category": "x"},
        {"question": "What of these?", "image_path1": "hard_image/1/object1.png"},
        {"question": "What?", "image_path1": "../out.png", "image_path2": "hard_image/1/object1.png"},
    ]  # fmt: skip
    write_json(tmp_path / "mis_test/mis_hard.json", items)
    for number, colour in ((1, "red"), (2, "blue")):
        paint(tmp_path / f"mis_test/hard_image/1/object{number}.png", colour)
    reading = read(mis, "MIS_hard", tmp_path)
    (row,) = reading.rows
    assert (row.id, row.harmful, row.category) == ("7", True, "Violence: x")
    assert [picture.name for picture in row.images] == ["object1.png", "object2.png"]
    assert [bad.row for bad in reading.bad] == [2, 3] and "does not lie inside" in reading.bad[1].reason
    frame = read_tsv(prepare("MIS_hard", tmp_path, tmp_path / "out").path)
    assert frame["image"][0].startswith("[") and frame["image"][0].count("', '") == 1
    with pytest.raises(SourceMissing, match="no mis_real.json"):
        read(mis, "MIS_real", tmp_path)


def test_mis_ids_from_0_and_parts_that_number_alike(tmp_path):
    paint(tmp_path / "a.png")
    item = {"question": "What?", "image_path1": "a.png", "image_path2": "a.png"}
    for part in ("easy", "hard"):
        write_json(tmp_path / f"mis_{part}.json", [{**item, "id": number} for number in range(3)])
    easy, hard = (read(mis, f"MIS_{part}", tmp_path) for part in ("easy", "hard"))
    assert [row.id for row in easy.rows] == ["0", "1", "2"] and not easy.bad
    both = {base_request(row, "MIS_easy") for row in easy.rows} | {base_request(row, "MIS_hard") for row in hard.rows}
    assert len(both) == 6


# HADES


def hades_row(number, step, **changes):
    return {
        "id": number, "scenario": "Animal", "keywords": "hurt", "step": step, "category": "behavior",
        "instruction": "Explain how people hurt animals.", "image": png(), **changes,
    }  # fmt: skip


def test_hades_hides_the_words_that_stand_in_the_picture(tmp_path):
    rows = [
        hades_row(1, 0),
        hades_row(1, 5),
        hades_row(2, 5, keywords="absent"),
        hades_row(3, 5, image={"bytes": b"x"}),
    ]
    write_parquet(tmp_path / "data/test-00000-of-00001.parquet", rows)
    reading = read(hades, "HADES", tmp_path)
    (row,) = reading.rows
    assert row.request == "Explain how people the behavior that stands in the picture animals."
    assert (row.intent, row.shown) == ("Explain how people hurt animals.", "the words: hurt")
    assert row.images == (png()["bytes"],) and row.harmful and row.category == "Animal"
    frame = read_tsv(prepare("HADES", tmp_path, tmp_path / "out").path)
    assert picture_of(frame["image"][0]).size == (6, 5)
    assert [(bad.row, bad.reason[:20]) for bad in reading.bad] == [
        (3, "keywords 'absent' do"), (4, "its image is no pict")
    ]  # fmt: skip
    (plain,) = read(hades, "HADES", tmp_path, step=0, plain=True).rows
    assert plain.request == "Explain how people hurt animals." and plain.intent == ""
    with pytest.raises(BenchmarkError, match="no row of step 3"):
        read(hades, "HADES", tmp_path, step=3)
    with pytest.raises(BenchmarkError, match="step is 6"):
        read(hades, "HADES", tmp_path, step=6)
    with pytest.raises(SourceMissing, match="no test-"):
        read(hades, "HADES", tmp_path.parent)


# SPA-VL


def test_spa_vl(tmp_path):
    row = {"image": png(), "question": "What?", "class1": "a", "class2": "b", "class3": "c"}
    write_parquet(tmp_path / "test/harm-00000-of-00001.parquet", [row, {**row, "question": None}])
    reading = read(spa_vl, "SPA_VL", tmp_path)
    assert [(one.id, one.request, one.category, one.harmful) for one in reading.rows] == [("1", "What?", "a", True)]
    assert "has no question" in reading.bad[0].reason
    write_parquet(tmp_path / "test/harm-00000-of-00001.parquet", [{"question": "What?"}])
    with pytest.raises(BenchmarkError, match="has no column image, class1, class2, class3; it has question"):
        read(spa_vl, "SPA_VL", tmp_path)
    (tmp_path / "test/harm-00000-of-00001.parquet").write_bytes(b"none")
    with pytest.raises(BenchmarkError, match="is no Parquet file"):
        read(spa_vl, "SPA_VL", tmp_path)


def test_a_parquet_file_that_is_damaged_inside_is_named(tmp_path):
    path = tmp_path / "harm-00000-of-00001.parquet"
    row = {"image": png(), "question": "What?", "class1": "a", "class2": "b", "class3": "c"}
    write_parquet(path, [row] * 200)
    whole = path.read_bytes()
    said = set()
    for place in range(4, 200, 4):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF] * 40) + whole[place + 40 :])
        try:
            read(spa_vl, "SPA_VL", tmp_path)
        except BenchmarkError as error:
            said.add("is damaged behind row 0" in str(error))
    assert True in said


def test_a_workbook_that_would_fill_the_memory_is_refused(tmp_path):
    path = tmp_path / vscbench.TEXT_FILE
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/worksheets/sheet1.xml", b" " * (80 << 20))
    with pytest.raises(BenchmarkError, match="unpacks to more than"):
        read(vscbench, "VSCBench_text", tmp_path)


# Ch3Ef


def test_ch3ef_turns_the_options(tmp_path):
    item = {
        "query": "What would you do?",
        "options": ["help", "hurt", "wait"],
        "image": ["images/a.png"],
        "source": "bias",
    }
    items = [{**item, "id": number} for number in range(12)] + [{**item, "id": "x", "options": "help"}]
    write_json(tmp_path / "meta_file/Harmless.json", {"meta_data": {}, "items": items})
    paint(tmp_path / "images/a.png")
    reading = read(ch3ef, "Ch3Ef_Harmless", tmp_path)
    assert len(reading.rows) == 12 and "options are no list" in reading.bad[0].reason
    assert {row.options["ABC".index(row.answer)] for row in reading.rows} == {"help"}, "the letter follows its option"
    assert {row.answer for row in reading.rows} == {"A", "B", "C"}, "which is not always the first"
    assert all(sorted(row.options) == ["help", "hurt", "wait"] for row in reading.rows)
    again = read(ch3ef, "Ch3Ef_Harmless", tmp_path / "meta_file/Harmless.json")
    assert [row.answer for row in again.rows] == [row.answer for row in reading.rows]
    odd = [{**item, "options": [f"o{n}" for n in range(count)]} for count in (0, 1, *range(27, 60))]
    write_json(tmp_path / "meta_file/Harmless.json", {"items": [*odd, {**item, "image": []}, {**item, "id": 0}]})
    reading = read(ch3ef, "Ch3Ef_Harmless", tmp_path)
    assert [row.id for row in reading.rows] == ["0"] and len(reading.bad) == 36
    write_json(tmp_path / "meta_file/Harmless.json", [item])
    with pytest.raises(BenchmarkError, match="has no list items"):
        read(ch3ef, "Ch3Ef_Harmless", tmp_path)
