"""Control problems of textbooks, with the constants of Gymnasium."""

from ttc.envs.classic_control.acrobot import acrobot
from ttc.envs.classic_control.cart_pole import cart_pole
from ttc.envs.classic_control.mountain_car import mountain_car

__all__ = ['acrobot', 'cart_pole', 'mountain_car']
