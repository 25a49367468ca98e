"""Batches of fixed sizes: floors, proofs, and the plan that covers a number of pictures."""

from itertools import combinations_with_replacement

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from model.config import GeneratorConfig
from model.generator import Generator
from model.sampling.batching import FixedBatches, batch_rows, padded, plan_batches
from model.sampling.folding import Affines, FoldedAttention, FoldedGenerator, Stage
from model.sampling.inputs import Inputs, of_classes

SIZES = (1, 2, 4, 8)
sizes_and_costs = st.dictionaries(
    st.sampled_from([1, 2, 3, 4, 8, 16]), st.floats(0.1, 10), min_size=1
)


class RoundsOtherwise(Stage):
    """What a layer does whose kernel depends on the batch: `tell` says what to add to which row."""

    def __init__(self, stage: Stage, kind: str) -> None:
        super().__init__()
        self.stage, self.kind = stage, kind

    def forward(self, x: Tensor, affines: Tensor) -> Tensor:
        """The stage's output, a bit off in small batches or in every second row."""
        out = self.stage(x, affines)
        if self.kind == "small" and len(x) < 4:
            return out * (1 + 1e-6)
        if self.kind == "position":
            out[1::2] *= 1 + 1e-6
        return out


def batches(kind: str = "") -> FixedBatches:
    """A tiny network, perhaps with a stage that rounds otherwise."""
    torch.manual_seed(0)
    config = GeneratorConfig(resolution=32, base_channels=2, num_classes=3, z_dim=8)
    network = FoldedGenerator(Generator(config).eval())
    if kind:
        stage = network.stages[2]
        assert isinstance(stage, Stage)
        network.stages[2] = RoundsOtherwise(stage, kind)
    return FixedBatches(network, SIZES)


def largest_batch() -> Inputs:
    """The inputs of eight pictures."""
    z = torch.randn(8, 8, generator=torch.Generator().manual_seed(1))
    return of_classes(z, torch.arange(8) % 3)


def one(inputs: Inputs, i: int) -> Inputs:
    """The inputs of picture i alone."""
    return inputs.rows(slice(i, i + 1))


def test_a_stage_that_rounds_otherwise_in_small_batches_is_padded_alone() -> None:
    """Its floor rises to the smallest batch that agrees; every size stays usable."""
    made = batches("small")
    inputs = largest_batch()
    made.find_exact_batch_sizes(inputs, lambda: None)
    assert made.min_batch_by_stage[2] == 4
    assert set(made.costs_s) == set(SIZES)
    whole = made.run(inputs, 8)
    for i in range(8):
        assert torch.equal(made.run(one(inputs, i), 1), whole[i : i + 1])


def test_where_a_picture_depends_on_its_place_pictures_are_drawn_one_by_one() -> None:
    """Every second row is off: no size can be trusted with company, so none has any."""
    made = batches("position")
    made.find_exact_batch_sizes(largest_batch(), lambda: None)
    assert set(made.costs_s) == {1}
    assert set(made.min_batch_by_stage) == {1}


class RoundsOtherwiseBesideScaled(FoldedAttention):
    """Attention whose kernel for scales rounds a picture of scale 1 otherwise than `forward`."""

    def scaled(self, x: Tensor, scales: Tensor) -> Tensor:
        """A bit off in every row."""
        return super().scaled(x, scales) * (1 + 1e-6)


def test_a_picture_of_scale_one_is_proved_beside_scaled_ones() -> None:
    """Where it has other bytes there, no size is used, so that it never has company."""
    scales = torch.tensor([1.0, 0.5, 1, 2, 1, 0, 1, 1.5])
    for kind, sizes in ((FoldedAttention, set(SIZES)), (RoundsOtherwiseBesideScaled, {1})):
        made = batches()
        made.network.stages[made.network.attention_stage(-1)].__class__ = kind
        made.find_exact_batch_sizes(largest_batch().scaled(scales), lambda: None)
        assert set(made.costs_s) == sizes


class RoundsOtherwiseWhenAlone(Affines):
    """A matrix product that takes another kernel for a single row."""

    def forward(self, inputs: Inputs) -> Tensor:
        """A bit off for a picture alone."""
        out = super().forward(inputs)
        return out * (1 + 1e-6) if len(inputs) == 1 else out


@pytest.mark.parametrize("conditional_latent", [True, False])
def test_the_affines_are_proved_like_a_stage(conditional_latent: bool) -> None:
    """What class and latent give the norms is padded where it would be rounded otherwise alone."""
    torch.manual_seed(0)
    config = GeneratorConfig(
        resolution=32,
        base_channels=2,
        num_classes=3,
        z_dim=8,
        conditional_latent=conditional_latent,
    )
    network = FoldedGenerator(Generator(config).eval())
    network.affines.__class__ = RoundsOtherwiseWhenAlone
    made = FixedBatches(network, SIZES)
    inputs = largest_batch()
    made.find_exact_batch_sizes(inputs, lambda: None)
    assert made.min_batch_of_affines >= 2
    assert set(made.costs_s) == set(SIZES)
    whole = made.run(inputs, 8)
    for i in range(8):
        assert torch.equal(made.run(one(inputs, i), 1), whole[i : i + 1])


def test_before_the_proof_every_stage_runs_at_the_largest_size() -> None:
    """No floor is assumed: what was not proved is padded."""
    assert set(batches().min_batch_by_stage) == {8}


def test_padding_appends_zero_rows_and_keeps_the_memory_format() -> None:
    """Channels last stays channels last."""
    x = torch.ones(3, 4, 5, 5).contiguous(memory_format=torch.channels_last)
    rows = padded(x, 5)
    assert rows.shape == (5, 4, 5, 5)
    assert rows.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(rows[:3], x)
    assert not rows[3:].any()
    assert padded(x, 3) is x


def test_the_plan_takes_what_is_quickest() -> None:
    """Three pictures: a padded batch of four where that costs less than two batches."""
    assert plan_batches(3, ((1, 1.0), (2, 1.9), (4, 2.5))) == (4,)
    assert plan_batches(3, ((1, 1.0), (2, 1.2), (4, 2.5))) == (2, 1)
    assert plan_batches(37, ((1, 1.0), (4, 3.0), (16, 10.0))) == (16, 16, 4, 1)
    assert plan_batches(0, ((1, 1.0),)) == ()


@given(st.integers(1, 40), sizes_and_costs)
def test_no_other_batches_cover_the_pictures_in_less_time(
    count: int, costs: dict[int, float]
) -> None:
    """Against every combination of up to three batches, where three can do."""
    sizes = plan_batches(count, tuple(costs.items()))
    assert sum(sizes) >= count
    assert sum(sizes[:-1]) < count
    others = [
        sum(costs[n] for n in group)
        for k in range(1, 4)
        for group in combinations_with_replacement(costs, k)
        if sum(group) >= count
    ]
    if count <= 2 * max(costs):
        assert sum(costs[n] for n in sizes) <= min(others, default=float("inf")) + 1e-9


def test_spans_cover_the_rows_in_order() -> None:
    """Only the last batch has room left."""
    assert list(batch_rows(21, (16, 8))) == [(slice(0, 16), 16), (slice(16, 21), 8)]


def test_attention_and_picture_come_from_one_pass() -> None:
    """The picture is that of `run`, to the bit, and the weights sum to one."""
    made = batches()
    inputs = largest_batch()
    made.find_exact_batch_sizes(inputs, lambda: None)
    image, weights = made.run_with_attention(one(inputs, 0), -1, None, picture=True)
    assert image is not None
    assert torch.equal(image, made.run(one(inputs, 0), 1))
    assert weights.shape == (1, 256, 8, 8)
    torch.testing.assert_close(weights.sum((2, 3)), torch.ones(1, 256))
    nothing, same = made.run_with_attention(one(inputs, 0), -1, None, picture=False)
    assert nothing is None
    assert torch.equal(same, weights)
    with pytest.raises(IndexError):
        made.run_with_attention(one(inputs, 0), 1, None, picture=False)
