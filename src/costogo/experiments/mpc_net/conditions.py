"""What the robot meets in full physics. Apart from the simulation, so that commands know it without MuJoCo."""

from dataclasses import dataclass, fields

from costogo.core.validate import require


@dataclass(frozen=True)
class Conditions:
    """With --physics: what the robot meets in MuJoCo, of which its controller knows nothing."""

    noise: float = 1.0
    """noise of the state estimate, in units of a typical estimator's"""
    latency: float = 0.0
    """age of the state estimate, s"""
    push: float = 0.0
    """sideways impulse on the base after two seconds, N s"""
    mass_scale: float = 1.0
    """factor on all masses"""
    friction: float = 0.7
    """friction coefficient of the feet"""

    def require_use(self, physics: bool) -> None:
        """Raise if something is set that without physics would have no effect."""
        odd = [f"--{f.name.replace('_', '-')}" for f in fields(self) if getattr(self, f.name) != f.default]
        require(physics or not odd, f"{', '.join(odd)} means something in MuJoCo only; add --physics, or leave it out")
