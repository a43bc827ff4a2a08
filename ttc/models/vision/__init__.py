"""Networks that see: classifiers of one contract, and denoisers."""

from ttc.models.vision.classifier import Classifier, Outputs
from ttc.models.vision.convnet import convnet

__all__ = ['Classifier', 'Outputs', 'convnet']
