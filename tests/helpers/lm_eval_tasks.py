"""Small tasks of lm-evaluation-harness, a guarded model as its command builds one, and what its evaluator gives."""

from PIL import Image

import vlmguard_plugin as vg

DOCUMENTS = """
from datasets import Dataset
from PIL import Image

NOUNS = ["cake", "kite", "boat", "lamp", "chair"]
COLOURS = ["red", "green", "blue", "white", "black"]


def documents(times=1, **_):
    rows = [
        {
            "q": f"What is a {noun}?" + " Say it well." * (i % 3),
            "choices": ["food", "a nice thing", "x"], "right": i % 3, "noun": noun,
        }
        for i, noun in enumerate(NOUNS)
    ]
    return {"test": Dataset.from_list([{**row, "q": f"{row['q']} {turn}"} for turn in range(times) for row in rows])}


def picture(document):
    return [Image.new("RGB", (40, 30), COLOURS[NOUNS.index(document["noun"])])]
"""

SHARED = "custom_dataset: !function documents.documents\ntest_split: test\n"

GENERATE = (
    f"{SHARED}output_type: generate_until\ndoc_to_target: noun\nmetric_list: [{{metric: exact_match}}]\n"
    "generation_kwargs: {max_gen_toks: 8, do_sample: false, until: []}\n"
)

TASKS = {
    "t_text": GENERATE + 'doc_to_text: "{{q}}"\n',
    "t_many": GENERATE + 'doc_to_text: "{{q}}"\ndataset_kwargs: {times: 40}\n',
    "t_begun": GENERATE + 'doc_to_text: "{{q}}"\ngen_prefix: "It is"\n',
    "t_image": GENERATE + 'doc_to_text: "<image>{{q}}"\ndoc_to_image: !function documents.picture\n',
    "t_literal": GENERATE
    + 'doc_to_text: "<image>{{q}} What does <image> mean?"\ndoc_to_image: !function documents.picture\n',
    "t_choice": SHARED
    + 'output_type: multiple_choice\ndoc_to_text: "{{q}}\\nAnswer:"\ndoc_to_choice: choices\ndoc_to_target: right\n'
    "metric_list: [{metric: acc}]\n",
    "t_rolling": SHARED + 'output_type: loglikelihood_rolling\ndoc_to_text: ""\ndoc_to_target: q\n'
    "metric_list: [{metric: word_perplexity}]\n",
}

NOUNS = ["cake", "kite", "boat", "lamp", "chair"]

COLOURS = ["red", "green", "blue", "white", "black"]


def built(place, name="vlmguard", **arguments):
    """A model as the host's command builds it."""
    from lm_eval.api.registry import get_model

    arguments = {"pretrained": str(place / "tiny"), **arguments}
    if arguments.get("guard") or name != "vlmguard":
        arguments.setdefault("anchors", str(place / "anchors.csv"))
    return get_model(name).create_from_arg_obj(
        arguments, {"batch_size": "4", "device": "cuda:0", "max_batch_size": None}
    )


def evaluated(model, manager, tasks, **options):
    """What the host's own evaluator gives, the answers to each document among it."""
    import lm_eval

    return lm_eval.simple_evaluate(model=model, tasks=tasks, task_manager=manager, bootstrap_iters=0, **options)


def answers(results, task):
    samples = sorted(results["samples"][task], key=lambda sample: sample["doc_id"])
    return [[response[0] for response in sample["resps"]] for sample in samples]


def numbers(rows):
    """Flat: log-probabilities (and greedy as 0 or 1) in order."""
    return [
        float(number)
        for row in rows
        for response in row
        for number in (response if isinstance(response, tuple) else (response,))
    ]


# The same as the library


def text_queries():
    return [vg.Query(f"What is a {noun}?" + " Say it well." * (i % 3) + " 0") for i, noun in enumerate(NOUNS)]


def image_queries():
    return [
        vg.Query(query.text, (Image.new("RGB", (40, 30), colour),)) for query, colour in zip(text_queries(), COLOURS)
    ]


def requests_of(contexts, *rest, kind="generate_until"):
    """The host's requests, as it puts them to a model."""
    from lm_eval.api.instance import Instance

    return [
        Instance(kind, {}, (context, *more), 0, ("task", i, 1))
        for i, (context, *more) in enumerate(zip(contexts, *rest))
    ]
