"""Sets of text requests: rows of our own in the authors' layouts, under every condition."""

import hashlib

import pytest
from helpers.places import original
from PIL import Image

from vlmguard_plugin.benchmarks import (
    BENCHMARKS,
    BenchmarkError,
    SourceMissing,
    find_benchmark,
    prepare,
    read_tsv,
    xstest,
)
from vlmguard_plugin.benchmarks.picture import EVERY_CONDITION, beside
from vlmguard_plugin.benchmarks.request_sets import HARMBENCH_GROUPS

JBB = "Index,Goal,Target,Behavior,Category,Source\n"
SOURCES = {
    "MaliciousInstruct": ("MaliciousInstruct.txt", "How to one?\nHow to two?\nHow to three?\n"),
    "AdvBench": ("data/advbench/harmful_behaviors.csv", 'goal,target\nDo one,"Sure, x"\nDo two,x\nDo three,x\n'),
    "HarmBench": (
        "harmbench_behaviors_text_all.csv",
        "Behavior,FunctionalCategory,SemanticCategory,Tags,ContextString,BehaviorID\n"
        'Do one,standard,illegal,,,one\nDo two,contextual,harmful,context,"A long\nstory",two\n'
        'Sing,copyright,copyright,"lyrics, hash_check",,sing\n',
    ),
    "JailbreakBench": ("data/harmful-behaviors.csv", JBB + "0,Do one,x,B,Kind,Original\n1,Do two,x,B,Kind,AdvBench\n"),
    "StrongREJECT": (
        "strongreject_dataset/strongreject_dataset.csv",
        'category,source,forbidden_prompt\nKind,custom,"Do one, two"\nKind,custom,Do two\nOther,x,Do three\n',
    ),
    "StrongREJECT_small": ("strongreject_small_dataset.csv", "category,source,forbidden_prompt\nKind,custom,Do one\n"),
    "XSTest": (
        "xstest_prompts.csv",
        "id,prompt,type,label,focus,note\n1,Safe one?,homonyms,safe,a,\n2,Safe two?,homonyms,safe,b,\n"
        "3,Bad one?,contrast_homonyms,unsafe,a,\n4,Bad two?,contrast_homonyms,unsafe,b,\n"
        "5,Public?,privacy_public,safe,,\n",
    ),
}
SETS = sorted({name.rpartition("_")[0] for name in BENCHMARKS if name.endswith("_noise")})


@pytest.fixture
def folder(tmp_path):
    """All sets in one folder, each in its authors' place."""
    root = tmp_path / "sets"
    for name, text in (
        *SOURCES.values(),
        ("data/benign-behaviors.csv", JBB + "0,Sing one,x,B,Kind,Original\n1,Sing two,x,B,Kind,x\n"),
    ):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.fixture
def pictures(tmp_path):
    """Two pictures and a file that is none; b.png sorts before c.JPG."""
    images = tmp_path / "pictures"
    images.mkdir()
    Image.new("RGB", (4, 4), "blue").save(images / "c.JPG", format="JPEG")
    Image.new("RGB", (4, 4), "red").save(images / "b.png")
    (images / "a.txt").write_text("no picture")
    return images


def prepared(name, folder, tmp_path, **options):
    return read_tsv(prepare(name, folder, tmp_path / "out", **options).path)


@pytest.mark.parametrize("name", SETS)
def test_every_condition_has_the_same_ids(folder, pictures, tmp_path, name):
    frames = {}
    for condition in EVERY_CONDITION:
        options = {"text": {}, "picture": {"images": str(pictures)}}.get(condition, {"size": 8})
        frames[condition] = prepared(f"{name}_{condition}", folder, tmp_path, **options)
    text = frames.pop("text")
    assert "image" not in text and len(text)
    for condition, frame in frames.items():
        assert "image" in frame and not frame["image"].isna().any()
        assert set(frame["condition"]) == {condition}
        for column in ("id", "question", "category", "pair", "harmful"):
            assert list(frame[column]) == list(text[column]), (condition, column)


def test_all_sets_are_there():
    assert SETS == sorted([*SOURCES, "JailbreakBench_harmless"])


def test_pictures_are_taken_in_turn(folder, pictures, tmp_path):
    frame = prepared("AdvBench_picture", folder, tmp_path, images=str(pictures))
    digests = [path.split("-")[1] for path in frame["image_path"]]
    files = [hashlib.sha256((pictures / name).read_bytes()).hexdigest()[:12] + ".png" for name in ("b.png", "c.JPG")]
    assert digests == [files[0], files[1], files[0]] and frame["image"][2] == "1"


def test_a_bad_row_does_not_move_the_others_pictures(tmp_path, pictures):
    source = tmp_path / "mine.csv"
    source.write_text("request,harmful\nOne?,0\nTwo?,maybe\nThree?,0\n")
    made = prepare("Requests_mine_picture", source, tmp_path, images=pictures)
    frame = read_tsv(made.path)
    assert [bad.row for bad in made.bad] == [3] and list(frame["id"]) == ["1", "3"]
    assert frame["image"][1] == "1", "the third request has the first picture again"


def test_twins_stand_beside_the_same_picture(folder, pictures, tmp_path):
    frame = prepared("JailbreakBench_picture", folder, tmp_path, images=str(pictures)).set_index("id")
    digests = frame["image_path"].str.split("-").str[1]
    assert digests["harmful_1"] == digests["harmless_1"] != digests["harmful_0"] == digests["harmless_0"]


def test_picture_folders_that_can_not_be_used(folder, pictures, tmp_path):
    with pytest.raises(BenchmarkError, match="needs the option images"):
        prepare("AdvBench_picture", folder, tmp_path)
    for images, message in ((tmp_path / "none", "is no folder"), (folder, "holds no .png")):
        with pytest.raises(BenchmarkError, match=message):
            prepare("AdvBench_picture", folder, tmp_path, images=images)
    (pictures / "c.JPG").write_bytes((pictures / "c.JPG").read_bytes()[:100])
    with pytest.raises(BenchmarkError, match="c.JPG can't be read"):
        prepare("AdvBench_picture", folder, tmp_path, images=pictures)
    with pytest.raises(BenchmarkError, match="'sepia'; choose one of text, blank"):
        beside("sepia", 1)


def test_options_follow_the_condition():
    assert find_benchmark("XSTest_text").options() == []
    assert find_benchmark("XSTest_noise").options() == ["size"]
    assert find_benchmark("Requests_a_b_picture").options() == ["harmful", "images"]


@pytest.mark.parametrize(
    "name, file, content",
    [("HoliSafe", "holisafe_bench.json", "[]"), ("MSSBench_chat", "combined.json", '{"chat": []}')],
)
def test_a_file_without_rows_says_so(tmp_path, name, file, content):
    (tmp_path / file).write_text(content)
    with pytest.raises(BenchmarkError, match="holds no rows at all"):
        prepare(name, tmp_path, out_dir=tmp_path)


def test_harmbench(folder, tmp_path):
    frame = prepared("HarmBench_text", folder, tmp_path)
    assert list(frame["id"]) == ["one", "two", "sing"] and set(frame["harmful"]) == {1}
    assert list(frame["category"]) == ["standard: illegal", "contextual: harmful", "copyright"]
    context, behaviour = frame["question"][1].split("\n\n---\n\n")
    assert (context, behaviour) == ("A long\nstory", "Do two") and frame["question"][0] == "Do one"
    assert set(frame["category"]) <= {category for group in HARMBENCH_GROUPS.values() for category in group}


def test_harmbench_rows_that_can_not_be_used(folder, tmp_path):
    path = folder / "harmbench_behaviors_text_all.csv"
    path.write_text(
        path.read_text() + "Do four,contextual,harmful,context,,four\nDo five,multimodal,harmful,,,five\n"
        "Do six,standard,harmful,,,\nDo one,standard,harmful,,,one\n,contextual,harmful,,Story,seven\n"
    )
    bad = prepare("HarmBench_text", path, tmp_path).bad
    assert [row.row for row in bad] == [6, 7, 8, 9, 10]
    parts = (
        "four has no ContextString",
        "FunctionalCategory is 'multimodal'",
        "BehaviorID is empty",
        "'one' came before",
        "seven is empty",
    )
    for row, part in zip(bad, parts):
        assert part in row.reason and row.file == path


def test_jailbreakbench(folder, tmp_path):
    frame = prepared("JailbreakBench_text", folder, tmp_path)
    assert list(frame["id"]) == ["harmful_0", "harmful_1", "harmless_0", "harmless_1"]
    assert list(frame["harmful"]) == [1, 1, 0, 0] and list(frame["pair"]) == ["0", "1", "0", "1"]
    harmless = prepared("JailbreakBench_harmless_text", folder, tmp_path)
    assert list(harmless["question"]) == ["Sing one", "Sing two"] and set(harmless["harmful"]) == {0}
    alone = prepared("JailbreakBench_text", folder / "data/harmful-behaviors.csv", tmp_path)
    assert set(alone["harmful"]) == {1} and len(alone) == 2
    with pytest.raises(BenchmarkError, match="harmless half is read from that file"):
        prepare("JailbreakBench_harmless_text", folder / "data/harmful-behaviors.csv", tmp_path)
    (folder / "data/benign-behaviors.csv").unlink()
    with pytest.raises(SourceMissing, match="no benign-behaviors.csv"):
        prepare("JailbreakBench_text", folder, tmp_path)


def test_strongreject(folder, tmp_path):
    frame = prepared("StrongREJECT_text", folder, tmp_path)
    assert frame["question"][0] == "Do one, two" and list(frame["category"]) == ["Kind", "Kind", "Other"]
    assert len(prepared("StrongREJECT_small_text", folder, tmp_path)) == 1


@pytest.mark.parametrize(
    "name, file, rows, said",
    [
        ("StrongREJECT_text", "strongreject_small_dataset.csv", 9, "is the small set"),
        ("StrongREJECT_blank", "strongreject_dataset.csv", 60, "is the small set"),
        ("StrongREJECT_small_text", "strongreject_dataset.csv", 9, "is the full set"),
        ("StrongREJECT_small_text", "renamed.csv", 313, "is the full set"),
    ],
)
def test_one_strongreject_does_not_pass_for_the_other(tmp_path, name, file, rows, said):
    lines = [f"Kind,custom,Do number {number}" for number in range(rows)]
    (tmp_path / file).write_text("\n".join(["category,source,forbidden_prompt", *lines]))
    with pytest.raises(BenchmarkError, match=said):
        prepare(name, tmp_path / file, out_dir=tmp_path / "out")


def test_xstest(folder, tmp_path):
    frame = prepared("XSTest_text", folder, tmp_path)
    assert list(frame["harmful"]) == [0, 0, 1, 1, 0]
    assert list(frame["pair"]) == ["homonyms_1", "homonyms_2", "homonyms_1", "homonyms_2", "5"]
    assert xstest.pairs(["homonyms", "contrast_homonyms", "contrast_homonyms"]) == ["", "", ""], "unequal counts"


def test_xstest_as_it_was_called_before(folder, tmp_path):
    frame = prepared("XSTest_text", folder, tmp_path)
    (folder / "xstest_prompts.csv").unlink()
    (folder / "xstest_v2_prompts.csv").write_text(
        "id_v1,id_v2,type,prompt,focus,note\nv1-1,v2-1,homonyms,Safe one?,a,\n,v2-2,homonyms,Safe two?,b,\n"
        ",v2-3,contrast_homonyms,Bad one?,a,\n,v2-4,contrast_homonyms,Bad two?,b,\n,v2-5,privacy_public,Public?,,\n"
    )
    assert prepared("XSTest_text", folder, tmp_path).equals(frame)


@pytest.mark.parametrize("name", ["AdvBench", "HarmBench", "JailbreakBench", "StrongREJECT", "XSTest"])
def test_a_file_of_another_set(tmp_path, name):
    (tmp_path / "other.csv").write_text("text\nx\n")
    with pytest.raises(BenchmarkError, match="row 1 has no column"):
        prepare(f"{name}_text", tmp_path / "other.csv", tmp_path)
    with pytest.raises(SourceMissing, match="give that file or the folder"):
        prepare(f"{name}_text", tmp_path, tmp_path)


@pytest.mark.parametrize(
    "name, source, rows, harmful",
    [
        ("MaliciousInstruct_noise", "malicious_instruct", 100, 100),
        ("XSTest_text", "xstest", 450, 200),
        ("XSTest_blank", "xstest/xstest_prompts.csv", 450, 200),
    ],
)
def test_the_authors_own_files(tmp_path, name, source, rows, harmful):
    made = prepare(name, original(source), tmp_path)
    frame = read_tsv(made.path)
    assert (made.rows, made.bad, sum(frame["harmful"])) == (rows, (), harmful)
    if name.startswith("XSTest"):
        twins = frame.groupby("pair")["harmful"].agg(["size", "sum"])
        assert (twins["size"] == 2).sum() == 200 and (twins[twins["size"] == 2]["sum"] == 1).all()


@pytest.mark.parametrize(
    "name, path",
    [
        ("MaliciousInstruct_text", "malicious_instruct/MaliciousInstruct.txt"),
        ("XSTest_text", "xstest/xstest_prompts.csv"),
    ],
)
def test_digests_are_those_of_the_authors_files(name, path):
    assert hashlib.sha256(original(path).read_bytes()).hexdigest() == BENCHMARKS[name].downloads[0].sha256
