"""Prompts that a model can't read as it should: told, or refused in one line."""

import pytest
import transformers
from helpers.architectures import IDS, TEXT, TILE, TOWER, byte_tokenizer, image_processor
from helpers.tiny_models import TEMPLATE, tiny_llava, tiny_processor

import vlmguard_plugin as vg

LONG = vg.Query("word " * 400)


def lines(capsys):
    return [line for line in capsys.readouterr().err.splitlines() if line.startswith("vlmguard:")]


def test_a_prompt_beyond_the_models_length_is_told_once(capsys):
    subject = vg.HuggingFaceSubject(tiny_llava(), tiny_processor())
    longest = subject.config.get_text_config().max_position_embeddings
    subject.record([vg.Query("How to bake?")])
    assert not lines(capsys)
    subject.record([LONG])
    subject.generate([LONG], max_new_tokens=1)
    (line,) = lines(capsys)
    assert f"longer than the {longest} that the model was made for (max_position_embeddings)" in line


def test_a_processor_that_takes_no_text_alone_is_named():
    tokenizer = byte_tokenizer(image_token="<image>")
    shown = image_processor("SiglipImageProcessor", size=TILE)
    shown.image_seq_length = 4
    processor = transformers.PaliGemmaProcessor(shown, tokenizer, chat_template=TEMPLATE)
    config = transformers.PaliGemmaConfig(
        text_config={"model_type": "gemma", **TEXT, **IDS, "head_dim": 8},
        vision_config={"model_type": "siglip_vision_model", **TOWER, "vision_use_head": False},
        image_token_index=tokenizer.image_token_id,
        projection_dim=32,
        hidden_size=32,
    )
    model = transformers.PaliGemmaForConditionalGeneration(config).eval()
    message = "PaliGemmaProcessor takes no text without a picture .*guards are fitted on text; .*MODEL_GUARD"
    with pytest.raises(ValueError, match=message) as caught:
        vg.HuggingFaceSubject(model, processor)
    assert "\n" not in str(caught.value)
