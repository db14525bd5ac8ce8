"""What a trial in full physics is told."""

import pytest

from costogo.core.errors import CostogoError
from costogo.experiments.mpc_net.conditions import Conditions
from costogo.experiments.mpc_net.trials import options_of
from costogo.sim import EstimateNoise, SimulationOptions


def test_conditions_become_options_of_the_simulation():
    assert options_of(Conditions()) == SimulationOptions(EstimateNoise.typical())
    found = options_of(Conditions(noise=2.0, latency=0.01, push=20.0, mass_scale=1.2, friction=0.5))
    typical = EstimateNoise.typical()
    assert found.noise.orientation == 2.0 * typical.orientation and found.noise.correlation == typical.correlation
    assert found.latency == 4 and found.pushes[0].impulse == (0.0, 20.0, 0.0)  # steps of 2.5 ms
    assert (found.mass_scale, found.friction) == (1.2, 0.5)


@pytest.mark.parametrize("change", [{"noise": -1.0}, {"latency": -0.1}, {"mass_scale": 0.0}, {"friction": -0.5}])
def test_conditions_that_make_no_sense(change):
    with pytest.raises(CostogoError, match=next(iter(change))):
        options_of(Conditions(**change))
