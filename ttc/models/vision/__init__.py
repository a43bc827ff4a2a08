"""Networks that see: classifiers of one contract, and denoisers."""

from ttc.models.vision.classifier import Classifier, Outputs
from ttc.models.vision.convnet import convnet
from ttc.models.vision.resnet import resnet, resnet50, wide_resnet
from ttc.models.vision.vit import vit

__all__ = [
  'Classifier',
  'Outputs',
  'convnet',
  'resnet',
  'resnet50',
  'vit',
  'wide_resnet',
]
