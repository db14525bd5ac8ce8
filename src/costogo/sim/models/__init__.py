"""MuJoCo models of the benchmark systems, as MJCF text of our own."""

from costogo.sim.models.swimmer import swimmer_model, swimmer_xml
from costogo.sim.models.terrain import Terrain
from costogo.sim.models.walker import walker_model, walker_xml

__all__ = ["Terrain", "swimmer_model", "swimmer_xml", "walker_model", "walker_xml"]
