"""Networks and recipes that are rare but right: what went wrong with them once must not go wrong again."""

from dataclasses import replace

import pytest
import torch
from torch import fx, nn
from torch.nn import functional as F

from compression import calibration
from compression.analysis.layer_sensitivity import Sweep
from compression.calibration import moments_cache
from compression.data import Split, load
from compression.errors import InvalidSetting, Unsupported
from compression.export import export
from compression.host.onnx_runtime import session
from compression.network.batches import BATCH
from compression.network.tracing import trace
from compression.pipeline import compress, measuring
from compression.pipeline.candidate import Prepared
from compression.recipe import Recipe
from compression.steps import Quantize
from compression.techniques.quantization.equalization import equalized
from tests.visitors import Rows, learned

SHAPE = (1, 8, 8)
NEAR = 0.05
"""Where values are rounded to 8 bits, a step may fall to the other side."""


class Made(nn.Module):
    """Modules by name, and what is done with them."""

    def __init__(self, forward, **modules: nn.Module):
        super().__init__()
        self.does = forward
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, x):
        return self.does(self, x)


def conv(before: int, after: int, size: int = 3) -> nn.Conv2d:
    return nn.Conv2d(before, after, size, padding=size // 2)


def prepared(network: nn.Module, images: int = 64) -> Prepared:
    return compress.prepare(network.eval(), load("digits"), calibration_images=images)


def recipe(images: int = 64, **settings: object) -> Recipe:
    named = {name.replace("__", "."): value for name, value in settings.items()}
    return Recipe(calibration_images=images).with_settings(named)


def answers(graph: fx.GraphModule, known: Prepared) -> torch.Tensor:
    """The file's answers about some test images."""
    images = known.data.normalize(known.data.test.images[:100])
    found = session(export(graph, SHAPE).onnx).run(None, {"image": images.numpy()})[0]
    return torch.from_numpy(found)


def apart(known: Prepared, chosen: Recipe) -> float:
    """How far the file's answers are from the simulation's at most, as a share of the largest answer."""
    graph = compress.simulate(known, chosen)
    images = known.data.normalize(known.data.test.images[:100])
    with torch.inference_mode():
        simulated = graph(images)
    return float((answers(graph, known) - simulated).abs().max() / simulated.abs().max())


@pytest.fixture(scope="module")
def rows() -> nn.Module:
    return learned(Rows)


@pytest.mark.parametrize("schedule", ["none", "cubic", "rewind"])
def test_products_are_trained_after_their_weights_were_pruned_and_rounded(schedule: str) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(conv(1, 16), nn.ReLU(), conv(16, 16), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                            nn.Linear(16, 10))  # fmt: skip
    chosen = recipe(factorize__amount=0.2, factorize__round_to=1, prune__sparsity=0.3, quantize__weight_bits=8,
                    recover__steps=12, recover__schedule=schedule)  # fmt: skip
    assert apart(prepared(network), chosen) <= NEAR


class Attention(nn.Module):
    """`nn.MultiheadAttention` over patches, as it comes with PyTorch."""

    def __init__(self):
        super().__init__()
        self.patches, self.attention = nn.Conv2d(1, 16, 2, 2), nn.MultiheadAttention(16, 2, batch_first=True)
        self.head = nn.Linear(16, 10)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        return self.head((x + self.attention(x, x, x, need_weights=False)[0]).mean(1))


class Windows(nn.Module):
    """Maps cut into windows that are folded into the batch, as in Swin."""

    def __init__(self):
        super().__init__()
        self.stem, self.inside, self.head = conv(1, 8), nn.Linear(8, 8), nn.Linear(8, 10)

    def forward(self, x):
        x = self.stem(x).relu()
        n = x.shape[0]
        windows = x.reshape(n, 8, 2, 4, 2, 4).permute(0, 2, 4, 3, 5, 1).reshape(n * 4, 16, 8)
        return self.head(self.inside(windows).relu().reshape(n, 64, 8).mean(1))


@pytest.mark.parametrize("kind", [Attention, Windows])
def test_numbers_of_images_are_no_values_to_round(kind: type[nn.Module]) -> None:
    torch.manual_seed(0)
    assert apart(prepared(kind()), recipe(quantize__weight_bits=8)) <= NEAR


def test_attention_as_it_comes_with_pytorch_becomes_products_and_is_swept() -> None:
    torch.manual_seed(0)
    known = prepared(Attention())
    chosen = recipe(factorize__rank="energy", factorize__energy=0.5, factorize__round_to=1)
    assert any(layer.product for layer in compress.compress_prepared(known, chosen).layers)
    assert set(Sweep(known, images=50).names) == {"patches", "attention.in_proj", "attention.out_proj", "head"}
    assert len(list(Sweep(known, images=50).all())) == 4


def test_a_norm_that_is_called_twice_is_two() -> None:
    torch.manual_seed(0)
    network = Made(lambda s, x: s.head(s.norm(s.second(s.norm(s.first(x)).relu())).relu().mean((2, 3))),
                   first=conv(1, 16), second=conv(16, 16), norm=nn.BatchNorm2d(16), head=nn.Linear(16, 10))  # fmt: skip
    nn.init.uniform_(network.get_parameter("norm.weight"), 0.5, 1.5)
    graph, images = trace(network.eval(), SHAPE), torch.randn(40, *SHAPE)
    torch.testing.assert_close(graph(images), network(images))
    torch.testing.assert_close(equalized(graph, images)(images), graph(images), rtol=1e-3, atol=1e-4)
    chosen = recipe(quantize__weight_bits=8)
    for setting in ("keep", "reestimate"):
        assert apart(prepared(network), chosen.with_setting("batch_norm", setting)) <= NEAR


def test_averages_that_reach_beyond_the_edge_are_in_eight_bits_what_they_are_in_floats() -> None:
    torch.manual_seed(0)
    for padding in (0, 1):
        pool = nn.AvgPool2d(3, 2, padding, ceil_mode=True)
        network = nn.Sequential(conv(1, 8), nn.ReLU(), pool, conv(8, 8), nn.ReLU(), nn.Flatten(), nn.LazyLinear(10))
        network(torch.zeros(1, *SHAPE))
        assert apart(prepared(network), recipe(quantize__weight_bits=8)) <= NEAR


def test_whole_numbers_are_not_rounded() -> None:
    torch.manual_seed(0)
    network = Made(
        lambda m, x: m.head((m.conv(x).relu() + ((9 * x).long() + (5 * x).long())).mean((2, 3))),
        conv=conv(1, 8), head=nn.Linear(8, 10),
    )  # fmt: skip
    assert apart(prepared(network), recipe(quantize__weight_bits=8)) < NEAR


@pytest.mark.parametrize("settings", [
    {"kernel_size": 3, "stride": 2}, {"kernel_size": 3, "stride": 2, "padding": 1},
    {"kernel_size": 2, "stride": 3, "padding": 1, "count_include_pad": False},
    {"kernel_size": 3, "stride": 2, "divisor_override": 4},
], ids=str)  # fmt: skip
def test_averages_with_fewer_places_are_in_eight_bits_what_they_are_in_floats(settings) -> None:
    torch.manual_seed(0)
    network = Made(
        lambda m, x: m.head(m.b(F.avg_pool2d(m.a(x).relu(), ceil_mode=True, **settings)).mean((2, 3))),
        a=conv(1, 8), b=conv(8, 8), head=nn.Linear(8, 10),
    )  # fmt: skip
    assert apart(prepared(network), recipe(quantize__weight_bits=8)) < NEAR


def test_ranges_are_evened_out_only_between_layers_that_share_channels() -> None:
    """A linear layer may read a map's width, which is as wide as the map has channels."""
    torch.manual_seed(0)
    wide = Made(lambda s, x: s.last(s.width(s.first(x).relu()).mean((1, 2))),
                first=conv(1, 8), width=nn.Linear(8, 8), last=nn.Linear(8, 10))  # fmt: skip
    flat = Made(lambda s, x: s.last(s.width(s.first(x).relu().flatten(2)).mean(1)),
                first=nn.Conv2d(1, 16, 2, 2), width=nn.Linear(16, 8), last=nn.Linear(8, 10))  # fmt: skip
    tokens = Made(lambda s, x: s.last(F.relu6(s.first(s.patches(x).flatten(2).transpose(1, 2)))).mean(1),
                  patches=nn.Conv2d(1, 12, 2, 2), first=nn.Linear(12, 24), last=nn.Linear(24, 10))  # fmt: skip
    images = torch.randn(40, *SHAPE)
    for network in (wide, flat, tokens):
        graph = trace(network.eval(), SHAPE)
        torch.testing.assert_close(equalized(graph, images)(images), graph(images), rtol=1e-3, atol=1e-4)


def test_linear_layers_on_maps_do_the_work_that_is_counted() -> None:
    torch.manual_seed(0)
    network = Made(
        lambda s, x: s.last(s.narrow(s.wide(s.stem(x).permute(0, 2, 3, 1)).relu()).mean((1, 2))),
        stem=conv(1, 24), wide=nn.Linear(24, 48), narrow=nn.Linear(48, 24), last=nn.Linear(24, 10),
    )  # fmt: skip
    candidate = compress.compress_prepared(prepared(network), recipe(factorize__amount=0.3, factorize__round_to=1))
    assert candidate.reached[0].reached >= 0.3


def test_a_single_image_left_over_has_no_statistics(rows: nn.Module) -> None:
    known = prepared(rows, BATCH + 1)
    one_left = recipe(BATCH + 1, prune__sparsity=0.5)
    for chosen in (one_left, one_left.with_setting("quality", "fast")):
        assert measuring.measure(compress.compress_prepared(known, chosen), known).accuracy.drop < 0.05
    few = known.data.train
    trained_on = replace(known, data=replace(known.data, train=Split(few.images[:65], few.labels[:65])))
    compress.simulate(trained_on, one_left.with_settings({"recover.steps": 3, "recover.batch_size": 64}))


def test_what_is_read_from_disk_gives_the_same_file_to_the_byte(own_home: object) -> None:
    torch.manual_seed(0)
    graph, images = (
        trace(nn.Sequential(conv(1, 8), nn.ReLU(), nn.Flatten(), nn.Linear(512, 10)), SHAPE),
        torch.rand(9, *SHAPE),
    )
    key = moments_cache.key(graph, images)
    moments_cache.save(key, calibration.collect(graph, images))
    read = moments_cache.read(key)
    assert read is not None
    tensors = [getattr(m, name) for m in read[0].values() for name in moments_cache.FIELDS] + [*read[1].values()]
    assert all(tensor.data_ptr() % 64 == 0 for tensor in tensors)  # where linear algebra takes its usual way


def test_a_layer_that_reads_only_zeros_is_left_whole() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(conv(1, 16), nn.ReLU(), conv(16, 16), nn.ReLU(), nn.Flatten(), nn.Linear(1024, 10))
    nn.init.constant_(network[0].get_parameter("bias"), -99.0)
    known = prepared(network)
    with pytest.raises(Unsupported, match="can be removed by factorizing"):
        compress.simulate(known, recipe(factorize__amount=0.5, factorize__round_to=1))


def test_a_product_takes_no_other_layers_name() -> None:
    torch.manual_seed(0)
    network = Made(lambda s, x: s.fc(s.conv(s.conv_first(x).relu()).relu().mean((2, 3))),
                   conv_first=conv(1, 16), conv=conv(16, 16), fc=nn.Linear(16, 10))  # fmt: skip
    chosen = recipe(factorize__rank="energy", factorize__energy=0.6, factorize__round_to=1)
    assert "conv_first" in {layer.name for layer in compress.compress_prepared(prepared(network), chosen).layers}


def test_how_large_the_values_between_two_layers_are_decides_nothing() -> None:
    network = learned(Plain)
    small = Plain()
    small.load_state_dict(network.state_dict())
    with torch.no_grad():
        small.first.weight.mul_(2.0**-16)
        small.first.bias.mul_(2.0**-16)
        small.second.weight.mul_(2.0**16)
    chosen = recipe(prune__sparsity=0.6)
    shares = [
        [layer.sparsity for layer in compress.compress_prepared(prepared(each), chosen).layers]
        for each in (network, small)
    ]
    assert shares[0] == pytest.approx(shares[1], abs=0.02)


class Plain(nn.Module):
    """Two convolutions and a linear layer."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.last = conv(1, 12), conv(12, 12), nn.Linear(768, 10)

    def forward(self, x):
        return self.last(self.second(self.first(x).relu()).relu().flatten(1))


def test_what_eight_bits_cannot_hold_is_a_sentence() -> None:
    network = Made(lambda s, x: s.fc(s.d(F.max_pool2d(F.pad(s.c(x), (0, 1, 0, 1), value=-torch.inf), 2)).flatten(1)),
                   c=conv(1, 8), d=conv(8, 8), fc=nn.Linear(128, 10))  # fmt: skip
    with pytest.raises(Unsupported, match="infinite"):
        compress.simulate(prepared(network), recipe(quantize__weight_bits=8, quantize__placement="everywhere"))


def test_bits_of_a_layer_are_said_once() -> None:
    with pytest.raises(InvalidSetting, match="the layer '0' bits twice"):
        Quantize(layer_bits="0=4,0=5")
