"""Both levels of the mixture against their dense definitions, and what routing reports."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from limner.models.unif2ace.config import GROUPS
from limner.models.unif2ace.experts import RoutedExperts, TokenExperts
from limner.models.unif2ace.routing import Router, Routing, balance_loss
from limner.models.unif2ace.sequence_experts import EXPERTS, SequenceLevel
from unif2ace.tiny import TINY, random_model


def block(seed: int = 0) -> Any:
    return random_model(seed=seed).blocks[0]


def tokens(rows: int = 33, seed: int = 1) -> Tensor:
    return torch.randn(rows, TINY.width, generator=torch.Generator().manual_seed(seed))


def dense_definition(experts: RoutedExperts, h: Tensor, k: int) -> Tensor:
    """Every expert on every token, weighted by its probability where it is among the k highest, else by nothing."""
    p = torch.softmax(h @ experts.router.weight.T, -1)  # (T, X)
    threshold = p.sort(-1, descending=True).values[:, k - 1, None]
    gates = torch.where(p >= threshold, p, 0.0)
    out = torch.zeros_like(h)
    for i in range(len(experts.up)):
        hidden = F.gelu(h @ experts.up[i].T + experts.up_bias.view(4, -1)[i])
        out = out + gates[:, i, None] * (hidden @ experts.down[i].T + experts.down_bias.view(4, -1)[i])
    return out


@pytest.mark.parametrize("way", ["wide", "sorted"])
@pytest.mark.parametrize("k", [1, 2, 4])
def test_both_ways_are_the_dense_definition(k: int, way: str) -> None:
    experts = block().ffn.routed["paint"]
    experts.router.top_k = k
    gates, chosen, _ = experts.router(tokens())
    found = getattr(experts, way)(tokens(), gates, chosen)
    assert (found - dense_definition(experts, tokens(), k)).abs().max() <= 1e-5
    assert (experts(tokens())[0] - found).abs().max() <= 1e-5
    assert found.std() > 0.05


@pytest.mark.parametrize("k, way", [(1, "sorted"), (2, "wide"), (3, "wide")])
def test_tokens_are_sorted_where_they_go_to_less_than_half_of_the_experts(k: int, way: str, monkeypatch) -> None:
    taken: list[str] = []
    for name in ("wide", "sorted"):
        monkeypatch.setattr(RoutedExperts, name, lambda self, h, *_, name=name: taken.append(name) or h)
    experts = block().ffn.routed["paint"]
    experts.router.top_k = k
    experts(tokens())
    assert taken == [way]


@pytest.mark.parametrize("way", ["wide", "sorted"])
def test_gradients_of_both_ways_are_the_dense_ones(way: str) -> None:
    experts = block().ffn.routed["paint"].requires_grad_(True)
    weights = tokens(seed=2)
    gates, chosen, _ = experts.router(tokens())
    found = getattr(experts, way)(tokens(), gates, chosen)
    one = torch.autograd.grad((found * weights).sum(), list(experts.parameters()))
    other = torch.autograd.grad((dense_definition(experts, tokens(), 2) * weights).sum(), list(experts.parameters()))
    assert all(torch.allclose(a, b, atol=1e-5) and a.abs().max() > 1e-3 for a, b in zip(one, other))


def test_an_expert_nobody_chose_and_a_single_token_are_no_trouble() -> None:
    experts = block().ffn.routed["paint"]
    experts.router.weight[3] = -experts.router.weight[:3].sum(0)
    h = tokens(1)
    gates, chosen, _ = experts.router(h)
    for way in (experts.wide, experts.sorted):
        assert (way(h, gates, chosen) - dense_definition(experts, h, 2)).abs().max() <= 1e-5


def test_every_token_goes_to_exactly_k_experts() -> None:
    router = block().ffn.routed["understand"].router
    gates, experts, routing = router(tokens(200))
    assert experts.shape == (200, 2) and (experts.sort(-1).values.diff() > 0).all()
    counts = torch.zeros(4)
    for row in experts.tolist():
        for i in row:
            counts[i] += 1
    assert torch.allclose(routing.share, counts / 400) and counts.min() > 0
    p = torch.softmax(tokens(200) @ router.weight.T, -1)
    assert torch.allclose(routing.probability, p.mean(0), atol=1e-6)
    assert torch.allclose(gates, p.gather(1, experts), atol=1e-6)


def test_padding_is_routed_but_not_counted() -> None:
    ffn = block().ffn
    x = tokens(12).view(2, 6, -1)
    counted = torch.tensor([[False, False, True, True, True, True]] * 2)
    out, routing = ffn(x, "paint", counted)
    same, kept = ffn(x[:, 2:].contiguous(), "paint")
    assert torch.allclose(out[:, 2:], same, atol=1e-6)
    assert torch.allclose(routing.share, kept.share) and torch.allclose(routing.probability, kept.probability)
    assert not torch.allclose(routing.probability, ffn(x, "paint")[1].probability, atol=1e-4)


def test_groups_have_routers_and_experts_of_their_own() -> None:
    ffn = block().ffn
    h = tokens()[None]
    outs = [ffn(h, group)[0] for group in GROUPS]
    assert not torch.allclose(*outs, atol=1e-2)
    before = outs[0].clone()
    for parameter in ffn.routed["paint"].parameters():
        parameter += 1.0
    assert torch.equal(ffn(h, "understand")[0], before) and not torch.allclose(ffn(h, "paint")[0], outs[1])
    two = TokenExperts(replace(TINY, shared_experts=2))
    assert len(two.shared) == 2 and len(ffn.shared) == 1


def even_as(counts: list[int]) -> Routing:
    """A router whose experts are chosen so often, and which gives them just these probabilities."""
    share = torch.tensor(counts) / sum(counts)
    experts = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))[:, None]
    return Routing(share.expand(sum(counts), -1), experts)


def test_balance_loss_is_least_at_uniform() -> None:
    uniform = even_as([1] * 8)
    assert balance_loss([uniform]) == pytest.approx(1.0)
    g = torch.Generator().manual_seed(0)
    for _ in range(50):
        counts = torch.randint(20, (8,), generator=g)
        counts[0] += 1 + 2 * counts.max()
        assert balance_loss([even_as(counts.tolist())]) > 1.0
    assert balance_loss([uniform, even_as([1] + [0] * 7)]) == pytest.approx((1 + 8) / 2)


def test_a_routing_leaves_padding_out() -> None:
    probabilities = torch.softmax(torch.randn(5, 4, generator=torch.Generator().manual_seed(0)), -1)
    experts, counted = torch.tensor([[0, 1], [1, 2], [3, 0], [1, 3], [2, 3]]), torch.tensor([1, 0, 1, 1, 0]).bool()
    found = Routing(probabilities, experts, counted)
    assert found.share.tolist() == pytest.approx([2 / 6, 2 / 6, 0, 2 / 6])
    assert torch.equal(found.probability, probabilities[[0, 2, 3]].sum(0) / 3)
    nobody = Routing(probabilities, experts, torch.zeros(5, dtype=torch.bool))
    assert not nobody.share.any() and not nobody.probability.any()


def test_balance_loss_evens_a_router_out() -> None:
    torch.manual_seed(0)
    router = Router(16, 8, 2, renormalise=False)
    with torch.no_grad():
        router.weight.normal_(std=0.1)
        router.weight[0] += 0.5
    h = torch.randn(256, 16) + 0.5
    optimizer = torch.optim.Adam(router.parameters(), lr=0.02)
    first = router(h)[2].share.max()
    for _ in range(150):
        loss = balance_loss([router(h)[2]])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert first > 0.4 and router(h)[2].share.max() < 0.25


def level(group, seed: int = 0) -> SequenceLevel:
    return block(seed).sequence.groups[group]


def mixed(group, batch: int):
    model, g = random_model(), torch.Generator().manual_seed(5)
    if group == "paint":
        return model.mix(gamma=torch.rand(batch, generator=g))
    clip, face = torch.randn(batch, 4, 6, generator=g), torch.randn(batch, 1, 5, generator=g)
    return model.mix(clip=clip, face=face)


@pytest.mark.parametrize("group", GROUPS)
def test_sequence_level_is_its_dense_definition(group) -> None:
    module, extra = level(group), mixed(group, 16)
    module.router.weight.mul_(4)
    x = torch.randn(16, TINY.image_tokens, TINY.width, generator=torch.Generator().manual_seed(3))
    found, routing = module(x, extra)
    used = set()
    for b in range(16):
        h = F.layer_norm(x[b], (TINY.width,), module.norm.weight, module.norm.bias, TINY.norm_eps)
        p = torch.softmax(module.router.weight @ h.mean(0), 0)
        chosen = p.topk(2).indices.tolist()
        used |= set(chosen)
        total = torch.zeros_like(h)
        for i in chosen:
            name = EXPERTS[group][i]
            if name in ("clip", "face", "noise"):
                w = torch.softmax(module.mix[name](h), -1)[:, :1]
                answer = w * h + (1 - w) * getattr(extra, name)[b]
            else:
                answer = {"copy": h, "zero": torch.zeros_like(h)}[name]
            total = total + p[i] / p[chosen].sum() * answer
        assert torch.allclose(found[b], x[b] + module.scale * (total - h), atol=1e-5)
    assert used == {0, 1, 2, 3} and routing.share.sum() == pytest.approx(1.0)


def test_two_copies_are_the_identity() -> None:
    module = level("understand")
    module.router.weight[:2] = 0
    x = torch.randn(4, TINY.image_tokens, TINY.width)
    module.router.weight[2:] = 5 * module.norm(x).mean((0, 1))  # the copies win for the mean sequence
    x = x.mean(0, keepdim=True)
    found, routing = module(x, mixed("understand", 1))
    assert routing.share.tolist() == [0, 0, 0.5, 0.5]
    assert torch.allclose(found, x, atol=1e-6)


def test_no_expert_is_asked_that_nobody_chose(monkeypatch: pytest.MonkeyPatch) -> None:
    module = level("understand")
    asked: list[str] = []
    plain = module.expert
    monkeypatch.setattr(module, "expert", lambda name, *rest: asked.append(name) or plain(name, *rest))
    x = torch.randn(8, TINY.image_tokens, TINY.width, generator=torch.Generator().manual_seed(3))
    for one in x[:, None]:
        asked.clear()
        _, routing = module(one, mixed("understand", 1))
        assert asked == [name for name, share in zip(module.names, routing.share) if share > 0] and len(asked) == 2


def test_experts_listen_to_what_they_mix_in() -> None:
    """The picture's features and the mask ratio reach the output, each through its own expert."""
    x = torch.randn(16, TINY.image_tokens, TINY.width, generator=torch.Generator().manual_seed(3))
    for group, name in (("understand", "clip"), ("understand", "face"), ("paint", "noise")):
        module, extra = level(group), mixed(group, 16)
        module.router.weight.mul_(4)
        before, _ = module(x, extra)
        changed = extra._replace(**{name: getattr(extra, name) + 1})
        moved = (module(x, changed)[0] != before).flatten(1).any(1)
        assert moved.any() and not moved.all()  # those routed there, and only those
