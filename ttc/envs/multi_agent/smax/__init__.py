"""The StarCraft-like battles of SMAX, on arrays alone."""
