"""Test-time adaptation of classifiers: one method, one file."""

from ttc.adaptation.adanpc import adanpc
from ttc.adaptation.adapter import (
  Adapter,
  Batch,
  Prediction,
  Source,
  choose,
)
from ttc.adaptation.augmix import augmix_view
from ttc.adaptation.combinators import (
  chain_prediction,
  episodic,
  multi_step,
  reset_every,
  sliding_window,
)
from ttc.adaptation.cotta import cotta
from ttc.adaptation.eata import eata
from ttc.adaptation.ecotta import ecotta
from ttc.adaptation.itta import itta
from ttc.adaptation.label_shift_adapter import (
  label_shift_adapter,
  train_label_shift_adapter,
)
from ttc.adaptation.lame import lame
from ttc.adaptation.memo import memo
from ttc.adaptation.meta_dmoe import meta_dmoe
from ttc.adaptation.petal import petal
from ttc.adaptation.priors import (
  confusion_prior,
  correct_prior,
  maximum_likelihood_prior,
)
from ttc.adaptation.psmt import psmt
from ttc.adaptation.rdumb import rdumb
from ttc.adaptation.rmt import rmt
from ttc.adaptation.roid import roid
from ttc.adaptation.rotta import rotta
from ttc.adaptation.sar import sar
from ttc.adaptation.sda import sda
from ttc.adaptation.statistics import batch_norm, source
from ttc.adaptation.stream import StreamState, run_stream, start_stream
from ttc.adaptation.swag import Posterior, fit_posterior
from ttc.adaptation.t3a import t3a
from ttc.adaptation.tent import tent
from ttc.adaptation.views import COTTA_VIEW, View, cotta_view

__all__ = [
  'COTTA_VIEW',
  'Adapter',
  'Batch',
  'Posterior',
  'Prediction',
  'Source',
  'StreamState',
  'View',
  'adanpc',
  'augmix_view',
  'batch_norm',
  'chain_prediction',
  'choose',
  'confusion_prior',
  'correct_prior',
  'cotta',
  'cotta_view',
  'eata',
  'ecotta',
  'episodic',
  'fit_posterior',
  'itta',
  'label_shift_adapter',
  'lame',
  'maximum_likelihood_prior',
  'memo',
  'meta_dmoe',
  'multi_step',
  'petal',
  'psmt',
  'rdumb',
  'reset_every',
  'rmt',
  'roid',
  'rotta',
  'run_stream',
  'sar',
  'sda',
  'sliding_window',
  'source',
  'start_stream',
  't3a',
  'tent',
  'train_label_shift_adapter',
]
