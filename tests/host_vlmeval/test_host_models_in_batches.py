"""VLMEvalKit's own classes under a guard, asked the rows to come in one batch: what the host gets, row by row."""

import sys

import pandas
import pytest
from helpers.places import REPOSITORY
from PIL import Image

pytestmark = pytest.mark.host

sys.path.insert(0, str(REPOSITORY / "bench"))
SETTINGS = {"alpha": 3.0, "layers": [1]}


class Pictured:
    """A set as the host has one: each row a picture's file, a question and a mark."""

    dataset_name, force_use_dataset_prompt = "Pictured", True

    def __init__(self, rows):
        self.data = pandas.DataFrame(rows, columns=["file", "question", "harmful"])

    def dump_image(self, line):
        return [line["file"]]

    def build_prompt(self, line):
        return [{"type": "image", "value": line["file"]}, {"type": "text", "value": line["question"]}]


class OfTheClass(Pictured):
    """A set whose prompts the model's own class builds."""

    force_use_dataset_prompt = False


@pytest.fixture(scope="module", params=["Qwen2-VL-2B-Instruct", "llava-onevision-qwen2-0.5b-ov-hf", "InternVL2-1B"])
def hosts(request, tmp_path_factory):
    """A class of the host's, real, around random weights: guarded by VLM-Guard, one by one and in batches of four."""
    from host_classes import anchors, registered
    from tiny_hub import tiny_hub

    from vlmguard_plugin.hosts.vlmeval.wrapped import GuardedHost

    place = tmp_path_factory.mktemp("class")
    with pytest.MonkeyPatch.context() as patched, tiny_hub({"": registered(request.param, "Tiny", place)}):
        patched.setenv("VLMGUARD_CACHE", str(place / "cache"))
        built = []
        for size in ("1", "4"):
            patched.setenv("VLMGUARD_BATCH_SIZE", size)
            built.append(GuardedHost("Tiny", "vlm_guard", anchors=str(anchors(place)), use_vllm=False, **SETTINGS))
        yield *built, place


@pytest.fixture
def rows(hosts):
    files = []
    for number, size in enumerate(((60, 50), (50, 60), (90, 50))):
        files.append(str(hosts[2] / f"{number}.png"))
        Image.linear_gradient("L").rotate(40 * number).resize(size).convert("RGB").save(files[-1])
    broken = hosts[2] / "broken.png"
    broken.write_text("no picture")
    questions = ["What is it?", "What is it?", "What is it, then?", "What is it?", "Tell me, please!", "And that?"]
    places = [0, 1, 0, 0, 2, 1]
    good = [(files[place], question, number % 2) for number, (place, question) in enumerate(zip(places, questions))]
    return [*good[:4], (str(broken), "What is it?", 1), *good[4:]]


def gone_through(host, data, counted=None):
    """What the host's loop gets for each row: an answer, or its error's kind. counted: takes how many were asked."""
    host.set_dump_image(data.dump_image)
    answers, own = [], host.answers

    def answered(queries, dataset, by_chat):
        if counted is not None:
            counted.append(len(queries))
        return own(queries, dataset, by_chat)

    host.answers = answered
    for place in range(len(data.data)):
        row = data.data.iloc[place]
        by_set = data.force_use_dataset_prompt or not host.use_custom_prompt(data.dataset_name)
        message = data.build_prompt(row) if by_set else host.build_prompt(row, dataset=data.dataset_name)
        try:
            answers.append(host.generate(message, dataset=data.dataset_name))
        except Exception as error:  # the host's own, whatever it is
            answers.append(type(error).__name__)
    host.answers = own
    return answers


def gates(host):
    return host.meter.spent["Pictured"].gates


@pytest.mark.parametrize("kind", [Pictured, OfTheClass])
def test_rows_in_batches_are_answered_as_one_by_one(hosts, rows, kind):
    """Rows that are there twice, differ in their picture alone, or whose picture is broken, which fails by itself."""
    alone, together, _ = hosts
    for host in (alone, together):
        host.meter.spent.clear()
    sizes = []
    expected, answers = gone_through(alone, kind(rows)), gone_through(together, kind(rows), sizes)
    assert answers == expected and len(set(expected)) > 3 and "Error" in expected[4]
    assert together.subject.batches.alone is None and max(sizes) > 1 and alone.subject.batch_size == 1
    assert together.meter.spent["Pictured"].answers >= 5 and gates(together) == gates(alone) is not None
    assert (alone.run_facts("Tiny").batch_size, together.run_facts("Tiny").batch_size) == (1, 4)


def test_without_the_broken_row_each_batch_is_one_pass(hosts, rows):
    alone, together, _ = hosts
    whole = [row for row in rows if "broken" not in row[0]]
    sizes = []
    assert gone_through(together, Pictured(whole), sizes) == gone_through(alone, Pictured(whole))
    assert sizes == [3, 2], "four rows of which two are the same, then the rest"


def test_a_broken_row_costs_no_row_before_it_another_try(hosts, rows):
    alone, together, _ = hosts
    data = Pictured([*rows[:2], rows[4], rows[2], *rows[5:]])
    sizes = []
    assert gone_through(together, data, sizes) == gone_through(alone, data)
    assert sizes == [4, 2, 2, 1, 1, 3], "all, the two before it, it and the next, it, it for the host, and the rest"


def test_a_message_that_says_more_of_a_picture_is_answered_alone(hosts, rows):
    alone, together, _ = hosts
    data = Pictured(rows[:4])
    together.set_dump_image(data.dump_image)
    message = data.build_prompt(data.data.iloc[0])
    message[0]["note"] = "first"
    assert together.generate(message, "Pictured") == alone.generate(message, "Pictured")
    assert not together._ahead.answers_to("Pictured")
