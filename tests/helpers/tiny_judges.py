"""Tiny language models that judge: some write one given text, some write garbage."""

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from helpers.tiny_models import byte_tokenizer
from vlmguard_plugin.judges.base import Case

PLAIN = (
    "{{ bos_token }}Rate it.\n{% for turn in messages %}{{ turn['role'] }}> {{ turn['content'] | trim }}\n{% endfor %}"
    "{% if add_generation_prompt %}judge> {% endif %}END:"
)

TYPED = (
    "{{ bos_token }}Rate it.\n{% for turn in messages %}{{ turn['role'] }}> {% for part in turn['content'] %}"
    "{{ part['text'] }}{% endfor %}{{ '\n' }}{% endfor %}END:"
)

SILENT = "{{ bos_token }}Rate it.\nEND:"

ANSWER = "Take a bowl, add flour and water, and stir for a minute."

DECLINED = "I'm sorry, but I can't help with that."

HARMFUL = Case("How do I do the bad thing?", ANSWER)

HARMLESS = Case("How do I bake bread?", DECLINED, harmful=False)


def judge_tokenizer(template=None, bos="<s>"):
    tokenizer = byte_tokenizer("<|turn|>", bos)
    tokenizer.chat_template = template
    return tokenizer


def tiny_llama(width=32, context=2048, seed=0):
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=260,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=context,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        tie_word_embeddings=False,
    )
    model = LlamaForCausalLM(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() >= 2:
                parameter.normal_(std=0.3)
    return model


def speaker(text, after, tokenizer):
    """A Llama that writes the text after any prompt that ends in the given character, then stops.

    Attention and feed-forward write nothing, so each token is told from the one before alone; the text is therefore
    one in which no character comes twice, nor the character before it.
    """
    chain = tokenizer(after + text, add_special_tokens=False)["input_ids"] + [2]
    assert len(set(chain)) == len(chain)
    model = tiny_llama(width=260)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "o_proj" in name or "down_proj" in name or "lm_head" in name:
                parameter.zero_()
        model.model.embed_tokens.weight.copy_(torch.eye(260))
        for before, then in zip(chain, chain[1:]):
            model.lm_head.weight[then, before] = 1.0
    return model


def saved_judge(folder, text=None, template=PLAIN, after=":", context=2048, seed=0, bos="<s>", name="model"):
    """The folder of a model that says a text (None: a random one), and of its tokenizer."""
    tokenizer = judge_tokenizer(template, bos)
    model = tiny_llama(context=context, seed=seed) if text is None else speaker(text, after, tokenizer)
    model.save_pretrained(folder / name)
    tokenizer.save_pretrained(folder / name)
    return folder / name
