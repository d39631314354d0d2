"""lmms-eval in this process: a tiny model, small sets, its evaluator, and the answers of the plain library."""

import pytest
from helpers.lmms_eval_sets import ARGUMENTS, BARE, NOUNS, PICTURED, rows, write_sets
from helpers.tiny_models import tiny_llava, tiny_processor

import vlmguard_plugin as vg
from vlmguard_plugin.hosts.tasks import task_folder


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A tiny LLaVA, anchors and three small sets, with the environment that names them."""
    place = tmp_path_factory.mktemp("lmms")
    tiny_llava().save_pretrained(place / "tiny")
    tiny_processor().save_pretrained(place / "tiny")
    (place / "anchors.csv").write_text(
        "harmful,harmless\n" + "".join(f"How to steal a {n}?,How to make a {n}?\n" for n in NOUNS[:8])
    )
    write_sets(place / "data", rows())
    patch = pytest.MonkeyPatch()
    for name, value in {
        "LMUData": place / "data", "VLMGUARD_CACHE": place / "cache", "VLMGUARD_ANCHORS": place / "anchors.csv",
        "VLMGUARD_LLAVA": place / "tiny", "HF_HOME": place / "hf", "HF_HUB_OFFLINE": 1, "OMP_NUM_THREADS": 1,
    }.items():  # fmt: skip
        patch.setenv(name, str(value))
    yield place
    patch.undo()


@pytest.fixture(scope="module")
def manager(place):
    from lmms_eval.tasks import TaskManager

    return TaskManager("ERROR", include_path=str(task_folder("lmms_eval")), include_defaults=False)


@pytest.fixture
def evaluate(place, manager):
    """The host's evaluator on our tasks: the rows' answers by task, and the model after the run."""
    from lmms_eval import evaluator

    def run(model, tasks=(PICTURED, BARE), length=6, arguments=ARGUMENTS, **more):
        from vlmguard_plugin.hosts.lmms_eval.model import GuardedLMM

        more = {"model_args": arguments, "batch_size": 4, **more}
        more["gen_kwargs"] = ",".join(filter(None, [f"max_new_tokens={length}", more.get("gen_kwargs")]))
        results = evaluator.simple_evaluate(
            model=model, tasks=list(tasks), task_manager=manager, log_samples=True, **more
        )
        return {
            task: [sample["resps"][0][0] for sample in results["samples"][task]] for task in tasks
        }, GuardedLMM.finished

    return run


@pytest.fixture(scope="module")
def expected(place):
    """What the plain library answers to the same rows, with and without the guard."""
    subject = vg.HuggingFaceSubject(tiny_llava(), tiny_processor(), batch_size=1)
    guard = vg.build_guard("vlm_guard", layers=[1, 2], alpha=6).fit(subject, vg.load_anchors(place / "anchors.csv"))
    queries = {
        PICTURED: [vg.Query(row.request, row.images) for row in rows()],
        BARE: [vg.Query(f"How to mend a {noun}?") for noun in NOUNS[:3]],
    }
    return {
        name: {task: respond(asked) for task, asked in queries.items()}
        for name, respond in {
            "unguarded": lambda asked: subject.generate(asked, max_new_tokens=6),
            "guarded": lambda asked: guard.respond(subject, asked, max_new_tokens=6),
        }.items()
    }
