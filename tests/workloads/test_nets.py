"""The seeded networks: their bytes are pinned, their ONNX is sound, and two executors agree on it."""

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from numdev.spec.workload import DeclaredWorkload
from numdev.worker import net as worker_net
from numdev.workloads import BUILTINS, archive, net, onnxfile, prepare
from numdev.workloads.netcheck import check
from numdev.workloads.seeded import Seeded

NETS = ["cnn-small", "cnn-medium", "cnn-large", "cnn-deep-weeds", "cnn-five", "cnn-late", "operators"]
LAYERS = ["operators", "convolutions", "distributions"]
# A change here changes what old results mean: raise the workload's version with it.
PINNED = {
    "cnn-small": {
        "net": "8b90cbc2dfde7f64f8e4a18632adbcb23d914ba70e1e9ab7eb749994e4ef7460",
        "onnx": "d9a9c694098a3a94490b9f4a32d9bfbbedeb4c73c156a6a82b950c314bdafd36",
        "inputs": "2b9243fe6205c8740c78cd8747ac7ce4cbbb495496c5a30c8c49108bc10ab2b8",
        "digest": "1f70309c3436bd8e9faf6480664ba12795628360e9e67f2aab67ef2f9aa5b0f7",
    },
    "cnn-small-fine": {
        "net": "8b90cbc2dfde7f64f8e4a18632adbcb23d914ba70e1e9ab7eb749994e4ef7460",
        "onnx": "d9a9c694098a3a94490b9f4a32d9bfbbedeb4c73c156a6a82b950c314bdafd36",
        "inputs": "bb00efbbfdbcc30fd91a6bfdacfbee3ef787c95e5c5c0dc47c783124679e58ea",
        "digest": "a0c984bc1f628df5c9cf0da1e0722efdab9fa2227bb081e5418e29bf394391f4",
    },
    "cnn-medium": {
        "net": "3b05a6a22cc1c8f62495b69902fe0d333187263a1e052d2f766b139b53dde135",
        "onnx": "6533b7720c4940e6ca81f81b2ab32f99efe31249a96ce8e222dcfadc896e3a25",
        "inputs": "a5a407d52e9429bb6e75946eb534bb5d45752ca317732038b3438cba1479ddf9",
        "digest": "772c0ff684084b6a3b32d7117276b7748cdc8a8ead3e6e790d9ca1e49ec2b193",
    },
    "cnn-five": {
        "net": "fa8b8153909abe83cbed5394d1a83c48bb404d7202436d3a085d46c7a0f1bcfd",
        "onnx": "45e3a871bdb7e2039c4e95e24d9b6c8af7edbb113c5dbcdf63f628b18f1820af",
        "inputs": "9dd410cc8e0d1be07bfa2018f2c7c7bd71a4a31a0affde3e22fec2481dabbcdb",
        "digest": "1cffe56744fdad4d697e770fb6f920a95c714d2da66a0806ccf7da54f0f01a49",
    },
    "cnn-large": {
        "net": "487d9200f047ee4f7201bfca7601895a871366f48e9e1dcacf91cbf4c96cfa9d",
        "onnx": "9c8143468491e25f8d428f6968d896bdcc659d1b4e6351ee77f95bb1335f00ff",
        "inputs": "a5a407d52e9429bb6e75946eb534bb5d45752ca317732038b3438cba1479ddf9",
        "digest": "78a48aeaafd1ba9ed429e5bbb24502d123eb15f6cbf01e71fe6cbd9a694b4d79",
    },
    "cnn-deep-weeds": {
        "net": "1998fd89dba2761c6d85555a3ce80593221e7cc24ccd35333950540a775aae77",
        "onnx": "9ba27256b2519b4a6da18b2e22a4439a21b5aa97e986a42e53f795f5a203f42b",
        "inputs": "e11c8bb39610e66729fd904e328e3a18b9e3cc9748ab8c168bf6de64b976c8c3",
        "digest": "93066203464fd71c034212713051c3fef7c316882a37e2fd200ee25282075c28",
    },
    "cnn-late": {
        "net": "2b4b0f75536066455028c8321b540bcfaa197974c1315ea2d80b21568b2de8d3",
        "onnx": "54774bdc54d65cd5e4f9ef3aab24f68f76309b74a33099e430b76b91ed002dc9",
        "inputs": "2b9243fe6205c8740c78cd8747ac7ce4cbbb495496c5a30c8c49108bc10ab2b8",
        "digest": "63f69f8809e4d022ed4a3a3c491cdfebc8937f96e10d5a25f04a4ab2643de822",
    },
    "operators": {
        "net": "7485e3a566fa33fc9fba4684d95a9176924b595480cae7bc597bcd0a5c6747a0",
        "onnx": "795462f605a1a0691cbcd101830505be2deb6f6d29f11f92c0f5d70976e563c5",
        "inputs": "7fbbd037c82537bcd8ab0a56b52c8955e90beb9ca23ba69ff691c838d6becad8",
        "digest": "ad7756cb68f5511328dcb5db51cb44cb5d63cf488726ba3b982bdc00c39d3567",
    },
    "convolutions": {
        "net": "bfad903928436848207fec6a006d788fc0f69afc1a3c108acd44abd9bd130544",
        "onnx": "139f8078014e961a9d7df524bf852e690f050639b7491f575f00d0851234b90a",
        "inputs": "4bfa217d076ed77e3c2eb1019b564b3b97a9dafae9e990ac99f0c58d63084cbd",
        "digest": "b3ce106c996ee5afc9a1bb529c2228bac17184c79643fa666c5b57df155cbccd",
    },
    "distributions": {
        "net": "b854b48b6165f42ecd3c4ebdad327b4580a7352a23d8f3d4cb0e5228ec7d7dc3",
        "onnx": "12ab00363a7d8974502e92a74b17a6a82a1556fd9dede5e138b24aa7f63e1764",
        "inputs": "f1d6b4a2aa100390597c654d91f49191f2e46eccce0f1b8c8a67a754fc416751",
        "digest": "d45199bd494b169136dfcb50348b82947fce4bde4bdf83419b5ec410ce9873b9",
    },
    "matmul-integer": {
        "onnx": "2f4badcd94aff78db96b2fef77891909220ca0a666316b96accc68535208c9c4",
        "inputs": "afd6edb6fdb60d057f5ceacd748c8f3eeec3230095f68b7fafaf1789ed472e82",
        "digest": "87b9a6699e56dd8551f142a0124d7f2d07b699f6e251409cdce7a905aa15e749",
    },
    "matmul-integer-nozp": {
        "onnx": "813fffd4113721682bc3b832cc0cb3c81d208ba3c2b823eeb146b3202f7494d9",
        "inputs": "afd6edb6fdb60d057f5ceacd748c8f3eeec3230095f68b7fafaf1789ed472e82",
        "digest": "0b31f83964a42aee3fb658c281cabe49ff960055404bb99277c102515eac9785",
    },
    "qdq-conv": {
        "onnx": "10c61b8b274a78f107ca136fe0cb70ef1552889560b65c42d6937643c00f30a4",
        "inputs": "8c73d56034d96472a65a6c757afcc463280e686480a4a7dcb1b8736655825444",
        "digest": "853ec11c1f69b3aa9fca98ba87e121f45028a6df5a81a2f3c7ad467fcc32a9ec",
    },
    "basic-pitch": {
        "onnx": "2c3c1d144bfa61ad236e92e169c13535c880469a12a047d4e73451f2c059a0ec",
        "tflite": "3db297d54af8e01c6e5618245c956b1d71b6a2b978cb2dedb527173186552676",
        "inputs": "4261ddfa22ed1ef1363370581c5da92293ebdb95141d019a7d71b63109d7823f",
        "digest": "09c17736516b42d9709314833e82002e2207ed9036d3ad74b220a032d4404d95",
    },
    "ocr-detector": {
        "onnx": "d2a7720d45a54257208b1e13e36a8479894cb74155a5efe29462512d42f49da9",
        "inputs": "fc95908ce441ede9860b1c5ea848689b919d00624b701ed9a1b4c7830abeb762",
        "digest": "34579b5d266626536c5ab2d235c1c34aca2d317311aa5cfa12a96644710c23e9",
    },
    "ocr-classifier": {
        "onnx": "e47acedf663230f8863ff1ab0e64dd2d82b838fceb5957146dab185a89d6215c",
        "inputs": "d8ccad996a3938ce7d9cdc0ef3744dfaf3cfff9568e6860f358f9028429c9222",
        "digest": "c3551500f1f14e73d03233c89c038cfc69171474e4c24913f886921498789fd5",
    },
    "minilm": {
        "onnx": "fd538efc00ab65f05804fe69964b3a97960c292befdb47b6852261296ef22fdf",
        "inputs": "32b63010ff764a32a582f257fac62aba5406605e04d916fcaf838934917f5dc1",
        "digest": "5964f89eef2a4369fcb22712d4270bfa8bf285d5c23083038e50a601eaf27040",
    },
    "silero-vad": {
        "onnx": "1a153a22f4509e292a94e67d6f9b85e8deb25b4988682b7e174c65279d8788e3",
        "inputs": "2408435622640521d1066dd5ac4df6eb9517407702a10053ba88dcae56c4c3e4",
        "digest": "7d3442c3e4057fb26581afef15ee19462f090f768ee4d05a4f4402b84a9feb3a",
    },
    "silero-vad-sequence": {
        "onnx": "9ccdacc4719d8aa7e45a77536bfabec45a03ba1f2fad5e241ab4060b24238a85",
        "inputs": "d1c4385a35dfa807ed4b208359343f77bc9d1c2dc73c33d1c176e88e50324698",
        "digest": "fa2b3261db3290eebdf2fcccbeb3834d92d653ba69c24cd45427cb5bc7531472",
    },
    "silero-vad-script": {
        "torchscript": "e1122837f4154c511485fe0b9c64455f7b929c96fbb8d79fbdb336383ebd3720",
        "inputs": "0056ba6a12e4ae652bf7375934b3c7e8484817acda518a8f82f9e7f1c43962d3",
        "digest": "72f5c9f0ced51fc21c4d9439c1525b150ae0f870df50a88b67134b70c9aba26c",
    },
    "attention-small": {
        "onnx": "226a7dc00d6ad1860df013d9d08d8856b71b964cf04bcae68f2ab27683e9c54e",
        "inputs": "c51c8951fa183fa76d3dfdbad05ae107a9439495a335906bd24a1c279676b092",
        "digest": "9b51cd29ff815a5feac51498e8f26bb19f4f893634cc7e219f5603414f20691c",
    },
    "recurrent-small": {
        "onnx": "f8d4ebdaccd6151ef7ad0ca3511644c86d27a6b06fc57f769eccadc344c7debe",
        "inputs": "3346b32dc1d177a9be1404d9d8ba91eaba8d437346e37e266b0772f0e9132bd9",
        "digest": "bb286034febce3744f9b2ca57ee8f3d8704a488597cf5aa158227dd77294858e",
    },
    "sequence-operators": {
        "onnx": "49e429e42765a50fdfbefbd20eb2318c46cfd930fb13846df0e385c4a1ab09a6",
        "inputs": "89840b5e1a31e49950e91fe76a6517a1ffd3cfcd5dcebbb26bb5d79848a90aa9",
        "digest": "239cc2ed0c2c25bb7a9f4533103fd9925cf618f7b7ee5cf9c5682e7bad8b2f95",
    },
}
FETCHED = [
    "basic-pitch",
    "ocr-detector",
    "ocr-classifier",
    *(name for name in PINNED if name.startswith(("silero", "minilm"))),
]
MADE = [name for name in BUILTINS if name not in FETCHED]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Each built-in that needs no network, prepared once."""
    cache = tmp_path_factory.mktemp("cache")
    return {name: prepared(name, cache) for name in MADE}


def prepared(name: str, cache: Path):
    return prepare(DeclaredWorkload(name=name, builtin=name), cache, cache, lambda line: None)


def pins(workload) -> dict[str, str]:
    formats = {format: artefact.sha256 for format, artefact in workload.formats.items()}
    return {**formats, "inputs": workload.inputs.sha256, "digest": workload.digest}


def session(model: Path, optimise: bool = True) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    if not optimise:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])


def test_every_builtin_is_pinned():
    assert set(PINNED) == set(BUILTINS)


@pytest.mark.parametrize("name", MADE)
def test_the_bytes_never_change(made, name):
    assert pins(made[name]) == PINNED[name]


@pytest.mark.network
@pytest.mark.parametrize("name", FETCHED)
def test_what_is_fetched_is_what_was_pinned(real_cache, name):
    workload = prepared(name, real_cache)
    assert pins(workload) == PINNED[name]
    if "onnx" in workload.formats:
        wanted = {item.name for item in onnx.load(workload.formats["onnx"].path).graph.input}
        assert set(archive.unpack(workload.inputs.path)) == wanted


@pytest.mark.parametrize("name", MADE)
def test_the_onnx_is_sound(made, name):
    model = onnx.load(made[name].formats["onnx"].path)
    onnx.checker.check_model(model, full_check=True)
    assert (model.ir_version, model.opset_import[0].version) == (7, 13)
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    assert len(inferred.graph.output) == len(model.graph.output)


@pytest.mark.parametrize("name", dict.fromkeys(NETS + LAYERS))
def test_both_formats_have_the_same_weights(made, name):
    arrays = archive.unpack(made[name].formats["net"].path)
    description = json.loads(bytes(arrays.pop("__net__")))
    assert check(description, arrays) == []
    model = onnx.load(made[name].formats["onnx"].path)
    found = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    padded = {f"{layer['output']}_amounts" for layer in description["layers"] if layer["op"] == "pad"}
    assert set(found) == set(arrays) | padded
    assert all(found[key].tobytes() == array.tobytes() for key, array in arrays.items())


@pytest.mark.parametrize("name", dict.fromkeys(NETS + LAYERS))
def test_two_executors_agree(made, name):
    workload = made[name]
    inputs = archive.unpack(workload.inputs.path)
    running = session(workload.formats["onnx"].path)
    names = [item.name for item in running.get_outputs()]
    found = dict(zip(names, running.run(names, inputs), strict=True))
    description, weights = worker_net.load(str(workload.formats["net"].path))
    expected = worker_net.run(description, weights, inputs)
    assert list(found) == list(expected) == description["outputs"]
    for key, array in expected.items():
        assert found[key].shape == array.shape
        assert found[key].dtype == array.dtype == np.float32
        assert np.isfinite(array).all()
        assert np.abs(found[key] - array).max() <= 1e-4 * np.abs(array).max()
    for array in found.values() if name in LAYERS else [found["features" if name == "cnn-late" else "logits"]]:
        assert len({row.tobytes() for row in array}) == len(array)


def test_whole_numbers_have_exact_sums(made):
    """The control of `distributions`: no order of summation may change them."""
    workload = made["distributions"]
    running = session(workload.formats["onnx"].path)
    names = [item.name for item in running.get_outputs()]
    found = dict(zip(names, running.run(names, archive.unpack(workload.inputs.path)), strict=True))
    whole = found["integers_integers"]
    assert (whole == np.round(whole)).all()
    assert 0 < np.abs(whole).max() < 1 << 24
    # 144 products of numbers up to 8 cannot reach what float32 rounds.
    assert 144 * 8 * 8 < 1 << 24


def test_shapes_of_same_padding():
    for size in range(1, 12):
        for kernel in range(1, 6):
            for stride in range(1, 4):
                padding, out = net.same((size, size), kernel, stride)
                assert out == (-(-size // stride),) * 2
                reach = size + padding[0] + padding[2]
                assert reach >= kernel
                assert (reach - kernel) // stride + 1 == out[0]
                assert 0 <= padding[2] - padding[0] <= 1
                assert padding[:2] == [padding[0]] * 2


def test_a_network_that_is_not_whole_is_not_packed():
    network, outputs = net.five()
    description = network.description(outputs)
    weights = dict(network.weights)
    weights.pop("conv_0_bias")
    with pytest.raises(ValueError, match="there is no array 'conv_0_bias'"):
        net.pack(description, weights)


@pytest.mark.parametrize("name", ["matmul-integer", "matmul-integer-nozp"])
def test_matmul_integer_against_exact_integers(made, name):
    workload = made[name]
    model = onnx.load(workload.formats["onnx"].path)
    a = archive.unpack(workload.inputs.path)["a"]
    b = next(numpy_helper.to_array(tensor) for tensor in model.graph.initializer if tensor.name == "b")
    assert (a.dtype, b.dtype) == (np.uint8, np.int8)
    assert (a.min(), a.max(), b.min(), b.max()) == (128, 255, -128, -61)
    exact = [[sum(int(x) * int(y) for x, y in zip(row, column, strict=True)) for column in b.T] for row in a]
    (found,) = ReferenceEvaluator(model).run(None, {"a": a})
    assert found.dtype == np.int32
    assert found.tolist() == exact


def test_matmul_integer_saturates_where_pairs_are_added_in_16_bits(made):
    """What the scenario is about: every pair of products is below -2**15."""
    workload = made["matmul-integer"]
    model = onnx.load(workload.formats["onnx"].path)
    a = archive.unpack(workload.inputs.path)["a"].astype(np.int64)
    b = next(numpy_helper.to_array(tensor) for tensor in model.graph.initializer if tensor.name == "b").astype(np.int64)
    products = a[:, :, None] * b[None]
    pairs = products[:, 0::2] + products[:, 1::2]
    assert (np.clip(pairs, -(2**15), 2**15 - 1).sum(axis=1) != products.sum(axis=1)).all()


def test_qdq_conv_against_exact_integers(made):
    """Without optimisation, onnxruntime computes in float32, where all these sums are exact on every processor."""
    workload = made["qdq-conv"]
    x = archive.unpack(workload.inputs.path)["x"]
    model = onnx.load(workload.formats["onnx"].path)
    weight = next(numpy_helper.to_array(tensor) for tensor in model.graph.initializer if tensor.name == "weight_q")
    quantised = np.clip(np.rint(x * 64) + 128, 0, 255).astype(np.int64) - 128
    padded = np.pad(quantised, ((0, 0), (0, 0), (1, 1), (1, 1)))
    sums = sum(
        np.einsum("nchw,oc->nohw", padded[:, :, i : i + 16, j : j + 16], weight[:, :, i, j].astype(np.int64))
        for i in range(3)
        for j in range(3)
    )
    expected = (np.clip(np.rint(sums / 2.0**11) + 128, 0, 255) - 128) / 16
    (found,) = session(workload.formats["onnx"].path, optimise=False).run(None, {"x": x})
    assert found.dtype == np.float32
    assert np.array_equal(found, expected)
    assert len(np.unique(found)) > 50


def test_onnx_messages_against_the_onnx_package():
    """Every kind of attribute, extent and type that is written here, as the onnx package reads it."""
    weights = {
        "f": np.arange(6, dtype=">f4").reshape(2, 3),
        "i": np.array([-(2**63), 2**63 - 1]),
        "u": np.array(255, np.uint8),
        "s": np.array([-128, 127], np.int8),
        "t": np.array([-(2**31)], np.int32),
        "z": np.zeros((0, 3), np.float32),
    }
    nodes = [onnxfile.node("Op", ["a", "b"], ["c"], "n", one=-1, real=0.5, many=[3, -7, 2**40])]
    data = onnxfile.model(
        nodes, weights, [onnxfile.value("a", "float32", ["N", 300])], [onnxfile.value("c", "int8", [])]
    )
    model = onnx.load_from_string(data)
    found = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    assert all(
        np.array_equal(found[name], array) and found[name].shape == array.shape for name, array in weights.items()
    )
    (node,) = model.graph.node
    attributes = {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}
    assert attributes == {"one": -1, "real": 0.5, "many": [3, -7, 2**40]}
    assert (list(node.input), list(node.output), node.name, node.op_type) == (["a", "b"], ["c"], "n", "Op")
    dims = model.graph.input[0].type.tensor_type.shape.dim
    assert (dims[0].dim_param, dims[1].dim_value) == ("N", 300)
    assert model.graph.output[0].type.tensor_type.elem_type == onnx.TensorProto.INT8


def test_weights_of_another_seed_are_another_file():
    assert net.Net(1, (3, 8, 8)).conv(2, 3) == "conv_0"
    files = set()
    for seed in (1, 2):
        network = net.Net(seed, (3, 8, 8))
        network.conv(2, 3)
        description = network.description({"y": "conv_0"})
        files.add(net.pack(description, network.weights))
        assert network.weights["conv_0_weight"].tobytes() == Seeded(seed).scaled((2, 3, 3, 3), 27).tobytes()
    assert len(files) == 2
