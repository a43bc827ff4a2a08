"""Sampling: five verbs over one decode state, and what steers them."""

from ttc.sampling.acceptance import accept, redraw
from ttc.sampling.batching import (
  Decoded,
  Request,
  decode_stream,
  plan_streams,
  share,
)
from ttc.sampling.controllers import Controller, stack_templates
from ttc.sampling.decode import Counters, SampleOutput, sample
from ttc.sampling.draw import draw
from ttc.sampling.generate import generate
from ttc.sampling.logits import (
  SamplingParams,
  check_sampling_params,
  filter_logits,
)
from ttc.sampling.speculative import (
  SpeculativeCounters,
  SpeculativeOutput,
  speculative_sample,
)
from ttc.sampling.speculative_generate import speculative_generate
from ttc.sampling.state import (
  DecodeState,
  SoftEntries,
  extend,
  fork,
  prefill,
  score,
  score_stepwise,
  truncate,
)
from ttc.sampling.stop_texts import response_text, stop_at_texts
from ttc.sampling.stopping import (
  Policy,
  Progress,
  StopRules,
  first_finish,
  stop_rules,
  token_budget,
  wait_for_all,
)

__all__ = [
  'Controller',
  'Counters',
  'DecodeState',
  'Decoded',
  'Policy',
  'Progress',
  'Request',
  'SampleOutput',
  'SamplingParams',
  'SoftEntries',
  'SpeculativeCounters',
  'SpeculativeOutput',
  'StopRules',
  'accept',
  'check_sampling_params',
  'decode_stream',
  'draw',
  'extend',
  'filter_logits',
  'first_finish',
  'fork',
  'generate',
  'plan_streams',
  'prefill',
  'redraw',
  'response_text',
  'sample',
  'score',
  'score_stepwise',
  'share',
  'speculative_generate',
  'speculative_sample',
  'stack_templates',
  'stop_at_texts',
  'stop_rules',
  'token_budget',
  'truncate',
  'wait_for_all',
]
