"""Sets in which the picture decides: rows made here, in the layouts of the original files, read back."""

import json

import pytest
from helpers.benchmark_files import paint

from vlmguard_plugin.benchmarks import (
    BenchmarkError,
    SourceMissing,
    holisafe,
    mossbench,
    mssbench,
    read_tsv,
    siuo,
    vlsbench,
    write_tsv,
)

MODULES = (holisafe, siuo, mssbench, vlsbench, mossbench)


def write_json(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def read(name, source, **options):
    benchmark = next(module.BENCHMARKS[name] for module in MODULES if name in module.BENCHMARKS)
    return benchmark.read(source, **benchmark.fixed, **options)


def through_the_tsv(name, reading, folder):
    benchmark = next(module.BENCHMARKS[name] for module in MODULES if name in module.BENCHMARKS)
    path = write_tsv(reading.rows, folder / f"{name}.tsv", benchmark.kind, benchmark.source, benchmark.licence)
    return read_tsv(path)


def holisafe_item(number, kind, image="food/plate.png"):
    return {
        "id": number,
        "image": image,
        "query": f"What about plate {number}?",
        "type": kind,
        "category": "food",
        "subcategory": "dinner",
        "image_safe": kind[0] == "S",
        "image_safety_label": 0,
    }


@pytest.fixture
def holisafe_folder(tmp_path):
    items = [holisafe_item(number, kind) for number, kind in enumerate(("SSS", "SSU", "SUU", "USU", "UUU"), start=1)]
    write_json(tmp_path / "holisafe_bench.json", items)
    paint(tmp_path / "images/food/plate.png")
    return tmp_path


def test_holisafe_keeps_the_five_types_apart(holisafe_folder, tmp_path):
    reading = read("HoliSafe", holisafe_folder)
    assert [row.condition for row in reading.rows] == ["SSS", "SSU", "SUU", "USU", "UUU"] and not reading.bad
    assert [row.harmful for row in reading.rows] == [False, True, True, True, True]
    assert reading.rows[1].request == "What about plate 2?" and reading.rows[1].category == "food"
    assert len({row.pair for row in reading.rows}) == 5
    assert read("HoliSafe", holisafe_folder / "holisafe_bench.json") == reading
    frame = through_the_tsv("HoliSafe", reading, tmp_path / "out")
    assert list(frame["harmful"]) == [0, 1, 1, 1, 1] and list(frame["condition"])[1] == "SSU"


def test_holisafe_names_the_rows_it_can_not_use(holisafe_folder):
    wrong = [
        holisafe_item(1, "SSS"),
        holisafe_item(2, "USS"),
        holisafe_item(3, "SSS", "../plate.png"),
        holisafe_item(4, "SSS", "food/gone.png"),
        holisafe_item(1, "SSU"),
        {"id": 6, "question": "x"},
        "text",
    ]
    write_json(holisafe_folder / "holisafe_bench.json", wrong)
    paint(holisafe_folder / "plate.png")
    reading = read("HoliSafe", holisafe_folder)
    assert [row.id for row in reading.rows] == ["1"] and [bad.row for bad in reading.bad] == [2, 3, 4, 5, 6, 7]
    reasons = [bad.reason for bad in reading.bad]
    assert "'USS'" in reasons[0] and "does not lie inside" in reasons[1] and "gone.png is not there" in reasons[2]
    assert "came before" in reasons[3] and "it has id, question" in reasons[4] and "JSON str" in reasons[5]


def siuo_item(number, **more):
    return {"question_id": number, "image": "S-01.png", "question": "Nice view?", "category": "self-harm", **more}


@pytest.fixture
def siuo_folder(tmp_path):
    more = {"safety_warning": "Mind the edge.", "reference_answer": "Step back."}
    write_json(tmp_path / "data/siuo_gen.json", [siuo_item(1001, **more), siuo_item(1002, safety_warning="Mind.")])
    options = {"A": "Step back.", "B": "Yes.", "C": "No.", "D": "Maybe."}
    choices = [
        siuo_item(1001, options=options, correct_option="A"),
        siuo_item(1002, options=options, correct_option="E"),
        siuo_item(1003, options={"A": "x", "C": "y"}, correct_option="A"),
        siuo_item(1004, options=["x", "y"], correct_option="A"),
    ]
    write_json(tmp_path / "data/siuo_mcqa.json", choices)
    paint(tmp_path / "data/images/S-01.png")
    return tmp_path


def test_siuo_open(siuo_folder, tmp_path):
    reading = read("SIUO_Local", siuo_folder)
    (row,) = reading.rows
    assert (row.id, row.request, row.harmful, row.category) == ("1001", "Nice view?", True, "self-harm")
    assert row.answer == "Step back.\n\nSafety warning: Mind the edge."
    assert row.images == (siuo_folder / "data/images/S-01.png",)
    assert [(bad.row, bad.reason.split(";")[0]) for bad in reading.bad] == [(2, "has no reference_answer")]
    assert read("SIUO_Local", siuo_folder / "data") == reading
    assert read("SIUO_Local", siuo_folder / "data/siuo_gen.json") == reading
    frame = through_the_tsv("SIUO_Local", reading, tmp_path / "out")
    assert frame["reference"][0] == row.answer and list(frame["harmful"]) == [1]


def test_siuo_multiple_choice(siuo_folder, tmp_path):
    reading = read("SIUO_MCQ_Local", siuo_folder)
    (row,) = reading.rows
    assert row.options == ("Step back.", "Yes.", "No.", "Maybe.") and row.answer == "A" and row.harmful is None
    assert [bad.row for bad in reading.bad] == [2, 3, 4]
    assert "options are A, C" in reading.bad[1].reason and "a JSON list" in reading.bad[2].reason
    assert through_the_tsv("SIUO_MCQ_Local", reading, tmp_path / "out")["B"][0] == "Yes."


@pytest.fixture
def mss_folder(tmp_path):
    chat = {
        "safe_image_path": "0.jpg",
        "unsafe_image_path": "1.jpg",
        "intent": "Playing ball.",
        "unsafe_image": ": Playing ball among vases.**",
        "Type": "property",
        "queries": ["How do I throw well?", "Which ball is best?"],
    }
    embodied = {
        "task": "Place",
        "category": "property",
        "safe": "0.jpg",
        "unsafe": "1.png",
        "safe_instruction": "Put it on the table.",
        "unsafe_instruction": "Put it in the oven.",
        "observation_safe": "An apple in the hand.",
        "observation_unsafe": "A phone in the hand.",
        "safe_instructions": ["Put it on the table.", "Lay it on the table."],
        "unsafe_instructions": ["Put it in the oven.", "Lay it in the oven."],
    }
    write_json(tmp_path / "combined.json", {"chat": [chat], "embodied": [embodied]})
    for name in ("chat/0.jpg", "chat/1.jpg", "embodied/0.jpg", "embodied/1.png"):
        paint(tmp_path / name, "red" if "0" in name else "blue")
    return tmp_path


def test_mssbench_chat_pairs_the_two_pictures_of_a_query(mss_folder, tmp_path):
    reading = read("MSSBench_chat", mss_folder)
    assert len(reading.rows) == 4 and not reading.bad
    safe, unsafe = reading.rows[:2]
    assert safe.pair == unsafe.pair != reading.rows[2].pair and safe.id != unsafe.id
    assert (safe.harmful, unsafe.harmful) == (False, True) and (safe.condition, unsafe.condition) == ("safe", "unsafe")
    assert safe.request == unsafe.request == f"{mssbench.PROMPTS['chat']} How do I throw well?"
    assert [row.images[0].name for row in (safe, unsafe)] == ["0.jpg", "1.jpg"]
    assert (safe.shown, unsafe.shown) == ("", "Playing ball among vases.")
    frame = through_the_tsv("MSSBench_chat", reading, tmp_path / "out")
    assert list(frame["harmful"]) == [0, 1, 0, 1] and list(frame["pair"]) == ["chat_1_1"] * 2 + ["chat_1_2"] * 2


def test_mssbench_embodied_twins_have_their_own_instructions(mss_folder):
    rows = read("MSSBench_embodied", mss_folder).rows
    assert [row.request.rsplit(": ", 1)[1] for row in rows[:2]] == ["Put it on the table.", "Put it in the oven."]
    assert [row.pair for row in rows] == ["embodied_1_1"] * 2 + ["embodied_1_2"] * 2
    assert rows[0].shown == "An apple in the hand." and rows[1].images[0] == mss_folder / "embodied/1.png"


def test_mssbench_takes_the_script_s_file_name_and_a_prompt_of_the_users(mss_folder):
    (mss_folder / "combined.json").rename(mss_folder / "combine.json")
    (mss_folder / "prompt.txt").write_text("Say:\n")
    rows = read("MSSBench_chat", mss_folder, prompt_file=mss_folder / "prompt.txt").rows
    assert rows[0].request == "Say: How do I throw well?"


def test_mssbench_keeps_what_can_be_used(mss_folder):
    content = json.loads((mss_folder / "combined.json").read_text())
    good = content["chat"][0]
    content["chat"] = [{"queries": ["x"]}, good, {**good, "queries": "x"}, {**good, "unsafe_image_path": "/etc/1.jpg"}]
    content["chat"].append({**good, "queries": []})
    content["embodied"][0]["safe_instructions"].pop()
    write_json(mss_folder / "combined.json", content)
    (mss_folder / "chat/1.jpg").unlink()
    reading = read("MSSBench_chat", mss_folder)
    assert {row.id for row in reading.rows} == {f"chat_{n}_{q}_safe" for n in (2, 4) for q in (1, 2)}
    assert [bad.row for bad in reading.bad] == [1, 2, 2, 3, 4, 4, 5]
    assert "it has queries" in reading.bad[0].reason and "1.jpg is not there" in reading.bad[1].reason
    assert "must be a list of one or more texts" in reading.bad[3].reason
    assert "1 safe_instructions and 2" in read("MSSBench_embodied", mss_folder).bad[0].reason
    write_json(mss_folder / "combined.json", {"chat": []})
    with pytest.raises(BenchmarkError, match="no list 'embodied'; it has chat"):
        read("MSSBench_embodied", mss_folder)


@pytest.fixture
def vls_folder(tmp_path):
    item = {
        "instruction_id": 0,
        "instruction": "How do I use this?",
        "image_path": "imgs/0.png",
        "category": "Violent",
        "sub_category": "x",
        "source": "generation",
        "image_description": "A sharp tool.",
        "safety_reason": "It may hurt.",
    }
    older = {name: item[name] for name in ("instruction", "image_path", "category")} | {"instruction_id": "1"}
    empty = {**item, "instruction_id": 2, "instruction": ""}
    outside = {**item, "instruction_id": 3, "image_path": "imgs/../0.png"}
    write_json(tmp_path / "data.json", [item, older, empty, outside])
    paint(tmp_path / "imgs/0.png")
    paint(tmp_path / "0.png")
    return tmp_path


def test_vlsbench(vls_folder, tmp_path):
    reading = read("VLSBench", vls_folder)
    first, older = reading.rows
    assert (first.id, first.shown, first.answer) == ("0", "A sharp tool.", "Safety reason: It may hurt.")
    assert (older.id, older.shown, older.answer) == ("1", "", None)
    assert all(row.harmful and row.images[0].name == "0.png" for row in reading.rows)
    assert [bad.row for bad in reading.bad] == [3, 4] and "has no instruction" in reading.bad[0].reason
    assert "does not lie inside" in reading.bad[1].reason
    frame = through_the_tsv("VLSBench", reading, tmp_path / "out")
    assert list(frame["shown"]) == ["A sharp tool.", ""] and list(frame["reference"])[1] == ""
    (vls_folder / "imgs").rename(vls_folder / "elsewhere")
    with pytest.raises(SourceMissing, match="unpack the authors' imgs.tar"):
        read("VLSBench", vls_folder)


def moss_item(number, over, **more):
    return {
        "image": f"images/{number}.png",
        "short description": "A toy.",
        "description": "",
        "question": f"What is toy {number}?",
        "pid": str(number),
        "metadata": {"over": over},
        **more,
    }


@pytest.fixture
def moss_repository(tmp_path):
    items = {
        "1": moss_item(1, "type 1", description="A red toy on the floor."),
        "2": moss_item(2, "type 2"),
        "3": moss_item(3, "type 3"),
    }
    for name in ("data", "data_contrast"):
        write_json(tmp_path / name / "images_information/information.json", items)
        for number in items:
            paint(tmp_path / name / "images" / f"{number}.png")
    return tmp_path


def test_mossbench_is_harmless_and_its_contrast_set_is_not(moss_repository, tmp_path):
    original = read("MOSSBench", moss_repository)
    assert [row.harmful for row in original.rows] == [False] * 3 and not original.bad
    assert [row.category for row in original.rows] == list(mossbench.STIMULI.values())
    assert [row.shown for row in original.rows] == ["A red toy on the floor.", "A toy.", "A toy."]
    contrast = read("MOSSBench_contrast", moss_repository)
    assert [row.harmful for row in contrast.rows] == [True] * 3
    assert [row.pair for row in contrast.rows] == [row.pair for row in original.rows]
    assert contrast.rows[1].shown == "", "its picture was changed and its description was not"
    assert contrast.rows[0].images[0] == moss_repository / "data_contrast/images/1.png"
    assert read("MOSSBench", moss_repository / "data") == original
    assert read("MOSSBench_contrast", moss_repository / "data_contrast") == contrast
    assert list(through_the_tsv("MOSSBench", original, tmp_path / "out")["harmful"]) == [0, 0, 0]


def test_mossbench_never_takes_one_set_for_the_other(moss_repository):
    with pytest.raises(SourceMissing, match="folder data of"):
        read("MOSSBench", moss_repository / "data_contrast")
    with pytest.raises(SourceMissing, match="folder data_contrast of"):
        read("MOSSBench_contrast", moss_repository / "data")


def test_mossbench_names_the_rows_it_can_not_use(moss_repository):
    items = [
        moss_item(1, "type 1"),
        moss_item(2, "type 4"),
        moss_item(3, "type 1", metadata=["type 1"]),
        moss_item(4, "type 1"),
        moss_item(5, "type 1", image="/images/1.png"),
    ]
    write_json(moss_repository / "data/images_information/information.json", {row["pid"]: row for row in items})
    reading = read("MOSSBench", moss_repository)
    assert [row.id for row in reading.rows] == ["1"] and [bad.row for bad in reading.bad] == [2, 3, 4, 5]
    assert "'type 4'" in reading.bad[0].reason and "4.png is not there" in reading.bad[2].reason


@pytest.mark.parametrize(
    "name, table",
    [
        ("HoliSafe", "holisafe_bench.json"),
        ("SIUO_Local", "siuo_gen.json"),
        ("SIUO_MCQ_Local", "siuo_mcqa.json"),
        ("MSSBench_chat", "combined.json"),
        ("MSSBench_embodied", "combined.json"),
        ("VLSBench", "data.json"),
        ("MOSSBench", "information.json"),
        ("MOSSBench_contrast", "information.json"),
    ],
)
def test_missing_and_foreign_files_are_named(tmp_path, name, table):
    with pytest.raises(SourceMissing, match=table):
        read(name, tmp_path)
    folder = "images_information" if name.startswith("MOSS") else "."
    (tmp_path / "imgs").mkdir()
    write_json(tmp_path / folder / table, "text")
    with pytest.raises(BenchmarkError, match="holds a JSON str|it has a JSON str"):
        read(name, tmp_path)


def test_what_is_said_of_each_set():
    sets = {name: benchmark for module in MODULES for name, benchmark in module.BENCHMARKS.items()}
    for name, benchmark in sets.items():
        facts = (benchmark.source, benchmark.licence, benchmark.harmful, benchmark.attack, benchmark.judge)
        assert all(facts) and benchmark.changed, name
        paths = [download.path for download in benchmark.downloads]
        assert len(set(paths)) == len(paths), name
        assert all("/main/" not in download.url for download in benchmark.downloads), f"{name} must be pinned"
    assert len(sets["SIUO_Local"].downloads) == len(sets["SIUO_MCQ_Local"].downloads) == 1 + 167
    assert len(sets["MOSSBench"].downloads) == 1 + 300 and len(sets["MOSSBench_contrast"].downloads) == 1 + 244


@pytest.mark.host
def test_no_name_is_the_hosts():
    from vlmeval import dataset

    own_names = {name for module in MODULES for name in module.BENCHMARKS}
    hosts = [host_set for host_set in dataset.DATASET_CLASSES if host_set.__module__.startswith("vlmeval.")]
    built_in = {name for host_set in hosts for name in host_set.supported_datasets()}
    assert {"MSSBench", "SIUO"} <= built_in, "the host's own names are looked at"
    assert not own_names & built_in
