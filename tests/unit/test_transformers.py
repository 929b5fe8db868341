"""Networks of transformers, tiny and from their configuration: nothing is downloaded."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import layerlottery as ll

transformers = pytest.importorskip("transformers")

LABELS = torch.arange(4) % 3
SMALL = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32, "num_labels": 3}


def images(side=16):
    return torch.randn(4, 3, side, side, generator=torch.Generator().manual_seed(1))


def texts():
    ids = torch.randint(1, 40, (4, 6), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    mask[0, 4:] = 0
    return {"input_ids": ids, "attention_mask": mask}


def bert():
    return transformers.BertForSequenceClassification(transformers.BertConfig(vocab_size=40, **SMALL))


def vit():
    return transformers.ViTForImageClassification(transformers.ViTConfig(image_size=16, patch_size=4, **SMALL))


def swin():
    config = transformers.SwinConfig(
        image_size=16, patch_size=2, embed_dim=8, depths=[2, 2], num_heads=[2, 2], window_size=4, num_labels=3
    )
    return transformers.SwinForImageClassification(config)


def gpt2():
    sizes = {"vocab_size": 40, "n_positions": 8, "n_embd": 16, "n_layer": 3, "n_head": 2}
    config = transformers.GPT2Config(**sizes, num_labels=3, pad_token_id=0)
    return transformers.GPT2ForSequenceClassification(config)


# network, inputs, blocks, and of one block the last layers of its branches
NETWORKS = {
    "bert": (bert, texts, 3, "bert.encoder.layer.1", ["attention.output.dense", "output.dense"]),
    "vit": (vit, images, 3, None, None),
    "swin": (swin, images, 4, None, None),
    "gpt2": (gpt2, texts, 3, "transformer.h.1", ["attn.c_proj", "mlp.c_proj"]),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_layers_are_found_and_removal_equals_zeroed_branches(name):
    make, inputs, count, block, lasts = NETWORKS[name]
    torch.manual_seed(0)
    model, given = make().eval(), inputs()
    for parameter in model.parameters():
        if parameter.dim() > 1:
            # those of transformers start small: removal would change little
            nn.init.normal_(parameter, std=0.2)
    blocks = ll.find_blocks(model, given)
    assert len(blocks) == count
    one = block or list(blocks)[1]
    small, silent = ll.prune(model, [one]).model, copy.deepcopy(model)
    held = silent.get_submodule(one)
    for last in lasts or [path for path, module in held.named_modules() if _ends(path, module)]:
        for parameter in held.get_submodule(last).parameters():
            nn.init.zeros_(parameter)
    with torch.no_grad():
        answers = [_logits(each, given) for each in (small, silent, model)]
    torch.testing.assert_close(answers[0], answers[1], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(answers[1], answers[2], rtol=1e-3)


def _ends(path, module):
    return isinstance(module, nn.Linear) and (path.endswith(("output.dense", "o_proj", "mlp.fc2")))


def _logits(model, given):
    return model(**given).logits if isinstance(given, dict) else model(given).logits


def test_scores_of_bert_are_those_of_its_own_loss():
    torch.manual_seed(0)
    model = bert()
    scores = ll.score(model, texts() | {"labels": LABELS}, "snip")
    model.eval()
    model(**texts(), labels=LABELS).loss.backward()
    for name, score in scores.items():
        held = [one for one in model.get_submodule(name).modules() if isinstance(one, nn.Linear)]
        assert score == pytest.approx(sum((one.weight * one.weight.grad).abs().sum().item() for one in held), rel=1e-4)
    own = ll.score(
        model,
        (texts(), LABELS),
        "snip",
        forward=lambda network, given: network(**given),
        loss=lambda answer, labels: F.cross_entropy(answer.logits, labels),
    )
    assert own == pytest.approx(scores, rel=1e-5)


def test_attention_and_mlp_of_bert_go_singly():
    torch.manual_seed(0)
    found = ll.find_blocks(bert(), texts(), branches=True)
    assert len(found) == 6
    ticket = ll.find_ticket(bert(), (texts(), LABELS), "random", remove=3, branches=True)
    assert ticket.model(**texts()).logits.shape == (4, 3)
