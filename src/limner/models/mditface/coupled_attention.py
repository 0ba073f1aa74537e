"""What the cache saves, and why both halves of decoupling are needed: masks that ride along in every step.

``coupled_velocity`` is the ordinary multivariate transformer, in which mask tokens are a third stream beside text and
image. It is the yardstick of the benchmarks and the negative control of the tests; nothing paints with it. Undoing
either half of decoupling makes keys and values of the mask depend on the step, so no cache could be exact:

* ``blind=False``: mask queries read text and image keys;
* ``timeless=False``: the mask stream is modulated by the step's time and the pooled text.

With both kept (the defaults) it computes what ``MDiT.forward`` computes from a cache.

Legend: B batch, N image tokens, T text tokens, M mask tokens, D width, H heads, E head size.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .attention import attend
from .blocks import DoubleBlock, SingleBlock
from .embedding import Prompt
from .modulation import Conditioning
from .transformer import MaskFeatures, MDiT


def coupled_velocity(
    model: MDiT,
    latents: Tensor,
    t: Tensor,
    prompt: Prompt,
    mask: Tensor,
    guidance: Tensor | None = None,
    blind: bool = True,
    timeless: bool = True,
) -> tuple[Tensor, MaskFeatures]:
    """One evaluation with the mask stream inside. latents: (B, C, h, w); t: (B,).

    mask: as for ``MDiT.embed_mask``, or embedded already, (B, M, D). Returns the velocity (B, C, h, w), and the keys
    and values the mask had in this evaluation.
    """
    patch, device = model.config.patch, latents.device
    rows, columns = latents.shape[2] // patch, latents.shape[3] // patch
    text, conditioning = model.condition(t, prompt, guidance)
    c_m = model.mask_conditioning(device, text.dtype) if timeless else conditioning
    freqs = model.rotary_frequencies((rows, columns), text.shape[1], device)
    embedded = mask.ndim == 3 and mask.is_floating_point()
    m = mask if embedded else model.embed_mask(mask)
    m = m.expand(len(latents), -1, -1)
    x = model.embed_image(latents)
    keys, values = [], []
    for block in model.double_blocks:
        assert isinstance(block, DoubleBlock)
        text, x, m, k, v = _double(block, text, x, m, conditioning, c_m, freqs, blind)
        keys.append(k)
        values.append(v)
    tx = torch.cat([text, x], dim=1)
    for block in model.single_blocks:
        assert isinstance(block, SingleBlock)
        tx, m, k, v = _single(block, tx, m, conditioning, c_m, freqs, blind)
        keys.append(k)
        values.append(v)
    velocity = model.read_out(tx[:, text.shape[1] :], conditioning, *latents.shape[2:])
    return velocity, MaskFeatures(tuple(keys), tuple(values))


def _double(
    block: DoubleBlock,
    text: Tensor,
    x: Tensor,
    m: Tensor,
    c: Conditioning,
    c_m: Conditioning,
    freqs: Tensor,
    blind: bool,
) -> tuple[Tensor, ...]:
    sizes = [text.shape[1], x.shape[1], m.shape[1]]
    if blind or block.last:
        m, k_m, v_m = block.static(m, c_m, freqs[sizes[0] :])
        return *block.dynamic(text, x, c, freqs, (k_m, v_m, None)), m, k_m, v_m
    stream, mod_m = block.mask_stream(c_m)
    lora_t, lora_x = block.text.adapter, block.image.adapter
    mod_t, mod_x = block.text.modulation(c, lora=lora_t), block.image.modulation(c, lora=lora_x)
    q_t, k_t, v_t, _ = block.text.enter(text, mod_t, None, lora_t)
    q_x, k_x, v_x, _ = block.image.enter(x, mod_x, freqs[sizes[0] :], lora_x)
    q_m, k_m, v_m, hidden = stream.enter(m, mod_m, freqs[sizes[0] :], block.adapter)
    q, k, v = torch.cat([q_t, q_x, q_m], 2), torch.cat([k_t, k_x, k_m], 2), torch.cat([v_t, v_x, v_m], 2)
    o_t, o_x, o_m = attend(q, k, v).split(sizes, dim=1)
    text, x = block.text.leave(text, o_t, None, mod_t, lora_t), block.image.leave(x, o_x, None, mod_x, lora_x)
    return text, x, stream.leave(m, o_m, hidden, mod_m, block.adapter), k_m, v_m


def _single(
    block: SingleBlock, tx: Tensor, m: Tensor, c: Conditioning, c_m: Conditioning, freqs: Tensor, blind: bool
) -> tuple[Tensor, ...]:
    sizes = [tx.shape[1], m.shape[1]]
    length = sizes[0] - sizes[1]
    if blind or block.last:
        m, k_m, v_m = block.static(m, c_m, freqs[length:])
        return block.dynamic(tx, c, freqs, (k_m, v_m, None)), m, k_m, v_m
    stream, mod_m = block.mask_stream(c_m)
    lora = block.merged.adapter
    mod = block.merged.modulation(c, lora=lora)
    q, k, v, hidden = block.merged.enter(tx, mod, freqs, lora)
    q_m, k_m, v_m, hidden_m = stream.enter(m, mod_m, freqs[length:], block.adapter)
    o, o_m = attend(torch.cat([q, q_m], 2), torch.cat([k, k_m], 2), torch.cat([v, v_m], 2)).split(sizes, dim=1)
    return block.merged.leave(tx, o, hidden, mod, lora), stream.leave(m, o_m, hidden_m, mod_m, block.adapter), k_m, v_m
