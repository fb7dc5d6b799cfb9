"""A trained sentence transformer out of a safetensors file, and four sentences as its token ids."""

from __future__ import annotations

import json
import re

import numpy as np

from numdev.workloads import transformer

# First sentences of Austen (1813), Melville (1851), Dickens (1859) and Carroll (1865), all in the public domain.
SENTENCES = (
    "It is a truth universally acknowledged, that a single man in possession of a good fortune, must be in want of a wife.",
    "Call me Ishmael.",
    "It was the best of times, it was the worst of times.",
    "Alice was beginning to get very tired of sitting by her sister on the bank, and of having nothing to do.",
)
_PAD, _UNKNOWN, _START, _END = "[PAD]", "[UNK]", "[CLS]", "[SEP]"


def token_ids(sentences: tuple[str, ...], vocabulary: list[str]) -> dict[str, np.ndarray]:
    """`input_ids` and `attention_mask`, int64 [N, length of the longest], as BERT's uncased tokeniser gives them.

    Sentences are ASCII, for which that tokeniser is: lower case, words and single punctuation marks, and of each word
    the longest pieces that the vocabulary has, from the left (Wu et al. 2016, "wordpiece").
    """
    number = {piece: index for index, piece in enumerate(vocabulary)}
    rows = []
    for sentence in sentences:
        words = re.findall(r"[a-z0-9]+|[^a-z0-9\s]", sentence.lower())
        pieces = [piece for word in words for piece in _pieces(word, number)]
        rows.append([number[piece] for piece in (_START, *pieces, _END)])
    ids = np.full((len(rows), max(map(len, rows))), number[_PAD], np.int64)
    mask = np.zeros_like(ids)
    for index, row in enumerate(rows):
        ids[index, : len(row)], mask[index, : len(row)] = row, 1
    return {"input_ids": ids, "attention_mask": mask}


def _pieces(word: str, number: dict[str, int]) -> list[str]:
    found, start = [], 0
    while start < len(word):
        prefix = "##" if start else ""
        fits = (end for end in range(len(word), start, -1) if prefix + word[start:end] in number)
        end = next(fits, None)
        if end is None:
            return [_UNKNOWN]
        found.append(prefix + word[start:end])
        start = end
    return found


def tensors(data: bytes) -> dict[str, np.ndarray]:
    """The float32 tensors of a safetensors file by name: a length, a header in JSON, and the numbers."""
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    found = {}
    for name, item in header.items():
        if name != "__metadata__" and item["dtype"] == "F32":
            start, end = (8 + size + offset for offset in item["data_offsets"])
            found[name] = np.frombuffer(data[start:end], "<f4").reshape(item["shape"])
    return found


def encoder(weights: bytes, vocabulary: bytes) -> tuple[bytes, dict[str, np.ndarray]]:
    """The sentence transformer all-MiniLM-L6-v2 as ONNX for SENTENCES' length, and its inputs."""
    inputs = token_ids(SENTENCES, vocabulary.decode("utf-8").splitlines())
    # From its config.json.
    shape = transformer.Shape(inputs["input_ids"].shape[1], width=384, heads=12, layers=6, epsilon=1e-12)
    return transformer.encoder(tensors(weights), shape), inputs
