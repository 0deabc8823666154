"""BERT against plain loops, without the extra; and the packaged weights, with it."""

from __future__ import annotations

import json
import math
import socket
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from anyrestore.errors import ModelError
from anyrestore.text import encoder as module
from anyrestore.text.encoder import Bert, SentenceEncoder, load_encoder

SIZES = {
    "hidden_size": 8,
    "layer_norm_eps": 1e-12,
    "vocab_size": 11,
    "max_position_embeddings": 6,
    "type_vocab_size": 2,
    "intermediate_size": 12,
    "num_attention_heads": 2,
    "num_hidden_layers": 2,
}


def bert() -> Bert:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = Bert(SIZES).eval()
        with torch.no_grad():
            for p in made.parameters():
                p.add_(0.3 * torch.randn_like(p))
    return made


def norm(x: torch.Tensor, layer: torch.nn.LayerNorm) -> torch.Tensor:
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + 1e-12).sqrt() * layer.weight + layer.bias


@torch.no_grad()
def test_the_network_is_berts() -> None:
    made, pieces = bert(), [3, 7, 1, 10]
    x = torch.stack(
        [
            made.words.weight[p] + made.positions.weight[i] + made.segments.weight[0]
            for i, p in enumerate(pieces)
        ]
    )
    x = norm(x, made.norm)
    for layer in made.layers:
        q, k, v = ((x @ to.weight.T + to.bias) for to in (layer.query, layer.key, layer.value))
        mixed = torch.zeros_like(x)
        for head in (slice(0, 4), slice(4, 8)):
            for i in range(4):
                scores = torch.stack([(q[i, head] * k[j, head]).sum() / 2 for j in range(4)])
                mixed[i, head] = sum(s * v[j, head] for j, s in enumerate(scores.softmax(0)))
        x = norm(x + mixed @ layer.to_out.weight.T + layer.to_out.bias, layer.norm_attention)
        hidden = x @ layer.to_hidden.weight.T + layer.to_hidden.bias
        hidden = hidden * 0.5 * (1 + torch.erf(hidden / math.sqrt(2)))
        x = norm(x + hidden @ layer.from_hidden.weight.T + layer.from_hidden.bias, layer.norm_feedforward)
    expected = x.mean(0) / x.mean(0).norm()
    found = made(torch.tensor([pieces]), torch.ones(1, 4, dtype=torch.bool))[0]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    # Padding changes nothing, whatever stands in it.
    padded = torch.tensor([[*pieces, 5, 9]])
    mask = torch.tensor([[True] * 4 + [False] * 2])
    torch.testing.assert_close(made(padded, mask)[0], expected, rtol=1e-4, atol=1e-5)


def test_what_is_missing_is_named_in_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(
        ModelError, match="expected a sentence encoder among minilm, bge-micro-v2, came 'gpt'"
    ):
        load_encoder("gpt")

    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(module.importlib, "import_module", missing)
    with pytest.raises(ModelError, match=r'need the extra "text".*anyrestore\[text\]') as caught:
        load_encoder()
    assert caught.value.code == "no_encoder"


def test_an_encoder_from_the_hub_that_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    class Hub:
        @staticmethod
        def hf_hub_download(repository: str, file: str) -> str:
            raise ConnectionError(f"{repository} {file}")

    monkeypatch.setattr(module.importlib, "import_module", lambda _: Hub)
    with pytest.raises(ModelError, match="bge-micro-v2 cannot be fetched; use minilm") as caught:
        load_encoder("bge-micro-v2")
    assert caught.value.code == "no_encoder"


def test_vectors_are_units_in_order_and_need_no_network(
    encoder: SentenceEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the encoder wants the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    offline = load_encoder()
    texts = ["Remove the rain from my holiday photograph, please.", "", "no fog", "é ü 雨", "rain " * 999]
    vectors = offline(texts)
    assert vectors.shape == (5, 384)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(5))
    one_by_one = torch.cat([encoder([text]) for text in texts])
    torch.testing.assert_close(vectors, one_by_one, rtol=1e-4, atol=1e-5)
    assert offline([]).shape == (0, 384)


def test_the_packages_own_network_gives_the_same_vectors(encoder: SentenceEncoder) -> None:
    """First numbers of what sentence-transformers 6.2.0 gave for these weights."""
    expected = torch.tensor([0.0328051, -0.01203185, 0.02587913, 0.01292538])
    torch.testing.assert_close(encoder(["it is too dark"])[0, :4], expected, rtol=1e-4, atol=1e-6)


def test_like_means_near(encoder: SentenceEncoder) -> None:
    rain, drops, night = encoder(["remove the rain", "take away the raindrops", "the picture is too dark"])
    assert rain @ drops > rain @ night + 0.2


def test_a_folder_without_an_encoder_is_refused(encoder: SentenceEncoder, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="expected a sentence encoder"):
        SentenceEncoder(tmp_path, "minilm")
    # All is there and fits, but for the tokenizer.
    names = {key: module._public_name(key) for key in bert().state_dict()}
    save_file({names[k]: v for k, v in bert().state_dict().items()}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(SIZES))
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(ModelError, match=r"expected a sentence encoder.*EOF while parsing"):
        SentenceEncoder(tmp_path, "minilm")
