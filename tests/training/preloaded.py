"""What the fork server imports once, so that ranks start in milliseconds."""

import os

os.environ["OMP_NUM_THREADS"] = "1"

import torch
import torch.distributed.checkpoint
import torch.distributed.fsdp
import torch.utils.tensorboard  # noqa: F401
from diffusers import AutoencoderKL, UNet2DConditionModel  # noqa: F401

import limner.models.facex.task
import limner.models.mditface.task
import limner.models.unif2ace.task
import limner.training.loop  # noqa: F401
