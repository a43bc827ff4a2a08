"""Corruptions of images, on device, at five severities."""

from ttc.adaptation.corruptions.corrupt import corrupt
from ttc.adaptation.corruptions.geometric import coloured, rotated
from ttc.adaptation.corruptions.photographs import frost_textures
from ttc.adaptation.corruptions.tables import (
  BENCHMARK,
  HELD_OUT,
  MNIST_C,
  SEVERITIES,
  TABLES,
  parameters,
)
from ttc.adaptation.corruptions.weather import FrostTextures

__all__ = [
  'BENCHMARK',
  'HELD_OUT',
  'MNIST_C',
  'SEVERITIES',
  'TABLES',
  'FrostTextures',
  'coloured',
  'corrupt',
  'frost_textures',
  'parameters',
  'rotated',
]
