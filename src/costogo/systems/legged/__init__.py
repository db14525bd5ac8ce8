"""Legged robots: gaits, contact constraints, kinodynamic models."""

from costogo.systems.legged.anymal import GAITS, Anymal
from costogo.systems.legged.gait import Gait, SwingSpline
from costogo.systems.legged.kinodynamic import ContactConstraints, FrictionCones, LeggedRobot, WalkingTask
from costogo.systems.legged.planar import PLANAR_GAITS, PlanarWalker

__all__ = [
    "GAITS",
    "PLANAR_GAITS",
    "Anymal",
    "ContactConstraints",
    "FrictionCones",
    "Gait",
    "LeggedRobot",
    "PlanarWalker",
    "SwingSpline",
    "WalkingTask",
]
