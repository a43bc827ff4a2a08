"""Diffusion and flow models at test time: samplers, and searches over noise."""

from ttc.diffusion import mixtures, samplers, schedules
from ttc.diffusion.alignment import align, low_pass
from ttc.diffusion.base import (
  Found,
  Verifier,
  judge,
  refuse_nan,
  spread_particles,
)
from ttc.diffusion.best_of_n import best_of_n, random_search
from ttc.diffusion.evosearch import evosearch, evosearch_nfe
from ttc.diffusion.fk_steering import (
  Steered,
  effective_number,
  every,
  fk_particles,
  fk_steering,
  resample,
)
from ttc.diffusion.losses import Batch, denoising_loss, guided_denoiser
from ttc.diffusion.model import Model, make_model, model_sampler
from ttc.diffusion.paths import search_over_paths
from ttc.diffusion.refinement import inpaint, sequential_refinement
from ttc.diffusion.samplers import (
  Sampler,
  ddim,
  flow,
  from_noise,
  from_velocity,
)
from ttc.diffusion.schedules import (
  Level,
  Schedule,
  cosine,
  evosearch_points,
  flow_times,
  from_alpha_bars,
  linear,
)
from ttc.diffusion.svdd import svdd
from ttc.diffusion.tree_of_frames import (
  Branches,
  Plan,
  grow_tree,
  linear_plan,
  plan_nfe,
  tree_of_frames,
  video_t1_plan,
)
from ttc.diffusion.zero_order import preserve, zero_order_search

__all__ = [
  'Batch',
  'Branches',
  'Found',
  'Level',
  'Model',
  'Plan',
  'Sampler',
  'Schedule',
  'Steered',
  'Verifier',
  'align',
  'best_of_n',
  'cosine',
  'ddim',
  'denoising_loss',
  'effective_number',
  'every',
  'evosearch',
  'evosearch_nfe',
  'evosearch_points',
  'fk_particles',
  'fk_steering',
  'flow',
  'flow_times',
  'from_alpha_bars',
  'from_noise',
  'from_velocity',
  'grow_tree',
  'guided_denoiser',
  'inpaint',
  'judge',
  'linear',
  'linear_plan',
  'low_pass',
  'make_model',
  'mixtures',
  'model_sampler',
  'plan_nfe',
  'preserve',
  'random_search',
  'refuse_nan',
  'resample',
  'samplers',
  'schedules',
  'search_over_paths',
  'sequential_refinement',
  'spread_particles',
  'svdd',
  'tree_of_frames',
  'video_t1_plan',
  'zero_order_search',
]
