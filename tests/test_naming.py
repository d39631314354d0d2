"""The one grammar of names: what it reads it also writes, and it finds guards without importing any."""

import subprocess
import sys

import pytest
from helpers.guard_rows import own_guards

import vlmguard_plugin as vg
from vlmguard_plugin import naming
from vlmguard_plugin.guards.core.registry import guard_classes

MODELS = {"llava", "llava_next", "my_cmrm", "Qwen2-VL-2B-Instruct"}


def is_model(name):
    return name in MODELS


def test_the_names_are_those_of_the_registrys_classes():
    names, own = naming.guard_names(), own_guards()
    assert list(names) == sorted(names) and len(set(names)) == len(names)
    assert set(own) <= set(names) and set(vg.list_guards()) <= set(names)
    assert [name for name in names if name in guard_classes()] == vg.list_guards()
    for name in own:
        assert guard_classes()[name].__module__ == f"vlmguard_plugin.guards.{name}", "a guard's file bears its name"


def test_nothing_heavy_is_loaded_for_it():
    code = (
        "import sys\nfrom vlmguard_plugin import naming\n"
        "assert 'cmrm' in naming.guard_names() and naming.guard_of('vlmguard') == 'vlm_guard'\n"
        "heavy = {'torch', 'transformers', 'numpy', 'pandas', 'vlmguard_plugin.guards.cmrm'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("guard", [*own_guards(), "vlm_guard+self_reminder", "cmrm+vlm_guard+ecso"])
@pytest.mark.parametrize("model", sorted(MODELS))
def test_a_guarded_models_name_is_read_as_it_was_written(model, guard):
    name = naming.guarded_name(model, guard)
    for spelled in (name, f"{name}@alpha=0.5", naming.point_name(model, guard, {"alpha": 1, "layers": [1, 2]})):
        assert naming.split_guarded(spelled, is_model) == (model, guard)


@pytest.mark.parametrize(
    "name, read",
    [
        ("llava_vlmguard", ("llava", "vlm_guard")),
        ("llava_vlm_guard", ("llava", "vlm_guard")),
        ("llava_cmrm_sample", ("llava", "cmrm_sample")),
        ("llava_next_cmrm", ("llava_next", "cmrm")),
        ("llava_vlmguard+self_reminder", ("llava", "vlm_guard+self_reminder")),
        ("llava", None),
        ("llava_next", None),
        ("my_cmrm", None),
        ("llava_nonesuch", None),
        ("llava_cmrm+nonesuch", None),
        ("llava_cmrm+", None),
        ("other_cmrm", None),
        ("_cmrm", None),
        ("", None),
    ],
)
def test_names_are_split_where_a_model_ends_and_a_guard_begins(name, read):
    assert naming.split_guarded(name, is_model) == read


def test_of_two_readings_the_shorter_model_counts():
    models = {"vlm", "vlm_cmrm"}
    assert naming.split_guarded("vlm_cmrm_sample", models.__contains__) == ("vlm", "cmrm_sample")


def test_compositions():
    assert naming.guards_in("vlm_guard+ecso") == ["vlm_guard", "ecso"] and naming.guards_in("cmrm") == ["cmrm"]
    assert naming.composition(["vlm_guard", "ecso"]) == "vlm_guard+ecso"
    assert (
        naming.suffix_of("ecso+vlm_guard") == "ecso+vlmguard" and naming.guard_of("ecso+vlmguard") == "ecso+vlm_guard"
    )


def test_lists_name_each_model_and_its_listed_guards():
    assert naming.listed_names(["a", "b"]) == [
        "a", "b", "a_vlmguard", "a_cmrm", "a_cmrm_sample", "b_vlmguard", "b_cmrm", "b_cmrm_sample"
    ]  # fmt: skip
    assert set(naming.LISTED) <= set(own_guards())


def test_spellings_with_hyphens_and_without():
    assert naming.spellings("demo_vlm_cmrm_sample") == ["demo-vlm-cmrm-sample", "demo_vlm_cmrm_sample"]
    assert naming.spellings("llava") == ["llava"]


def test_settings_of_compositions_are_nested_and_flat_alike():
    flat = {"cmrm.alpha": 1, "cmrm.layers": [2], "tbop.rank": 2, "alpha": 0.5}
    nested = {"cmrm": {"alpha": 1, "layers": [2]}, "tbop": {"rank": 2}, "alpha": 0.5}
    assert naming.nested(flat) == nested and naming.flat(nested) == sorted(flat.items())
    given = {"cmrm": {"alpha": 1}, "cmrm.layers": [3]}
    assert naming.nested(given) == {"cmrm": {"alpha": 1, "layers": [3]}}
    assert given == {"cmrm": {"alpha": 1}, "cmrm.layers": [3]}, "what is given stays as it is"


@pytest.mark.parametrize(
    "value, spelled",
    [
        (1.0, "1"), (0.5, "0.5"), (-1, "-1"), (True, "true"), (None, "null"), ("zero", "zero"), ([1, 2], "1,2"),
        ((3,), "3"),
        ("Zero", None), ("a b", None), ("", None), ("/a", None), ([[1]], None), (["A"], None), ({}, None),
    ],
)  # fmt: skip
def test_values_as_they_stand_in_a_folders_name(value, spelled):
    assert naming.spelling(value) == spelled


def test_a_long_name_is_a_digest_of_its_settings():
    short = naming.point_name("llava", "cmrm", {"layers": list(range(10))})
    assert short == "llava_cmrm@layers=0,1,2,3,4,5,6,7,8,9"
    first, second = (naming.point_name("llava", "cmrm", {"layers": list(range(count))}) for count in (60, 61))
    assert first != second and max(len(first), len(second)) <= naming.LONGEST
    assert naming.split_guarded(first, is_model) == ("llava", "cmrm")
