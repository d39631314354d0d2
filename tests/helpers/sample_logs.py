"""Results and sample logs of lm-evaluation-harness, as the host lays them out, and samples to put in them."""

import json


def lm_eval_logs(
    folder, model="X", date="2026-01-02T03-04-05.000001", tasks=None, told=None, samples=True, figures=None, **config
):
    """Results and sample logs as lm-evaluation-harness lays them out. tasks: by name, the samples.

    figures: by task, the host's own where they are no means of the samples' scores.
    """
    place = folder / model
    place.mkdir(parents=True, exist_ok=True)
    content = {
        "results": {
            task: {"alias": task, **((figures or {}).get(task) or means(mine))} for task, mine in tasks.items()
        },
        "configs": {task: {} for task in tasks},
        "config": {
            "model": "hf-multimodal",
            "model_args": {"pretrained": f"org/{model}"},
            **({"vlmguard": told} if told else {}),
            **config,
        },
        "lm_eval_version": "0.4.13",
    }
    (place / f"results_{date}.json").write_text(json.dumps(content))
    for task, mine in tasks.items() if samples else ():
        lines = [json.dumps(sample) for sample in mine]
        (place / f"samples_{task}_{date}.jsonl").write_text("\n".join(lines) + "\n")
    return place


def means(samples):
    """The host's own figures: by metric and filter, the mean of the scores."""
    first = samples[0].get("filter")
    kept = [sample for sample in samples if sample.get("filter") == first]
    return {
        f"{name},{first or 'none'}": sum(sample[name] for sample in kept) / len(kept)
        for name in samples[0].get("metrics", ())
    }


def verdicts(answers, **more):
    """Samples of one of our own tasks."""
    return [
        {
            "doc_id": number,
            "doc_hash": f"d{number}",
            "filtered_resps": [answer],
            "verdict": {
                "dataset": "Set_blank", "index": str(number), "question": f"Question {number}?",
                "harmful": True, "label": "safe",
                "category": "", "pair": "", "condition": "blank", **more,
            },
        }
        for number, answer in enumerate(answers, start=1)
    ]  # fmt: skip


def scores(values, metric="acc", **more):
    """Samples of a task of the host's own."""
    return [
        {
            "doc_id": number,
            "doc_hash": f"d{number}",
            "filtered_resps": [["-1.0", "False"]],
            "metrics": [metric],
            metric: value,
            **more,
        }
        for number, value in enumerate(values)
    ]
