"""Open-loop references for the simulated quadruped: standing, and a trot in place with the base held still."""

import numpy as np

from costogo.sim import LEGS, MASS, Reference, standing_state

GRAVITY = 9.81
HIP, THIGH, SHANK, FOOT = (
    (0.2999, 0.104, 0.0),
    (0.0599, 0.08381, 0.0),
    (0.0, 0.1003, -0.285),
    (0.08795, 0.01305, -0.33797),
)
SWING, APEX, LIFT_OFF, TOUCH_DOWN = 0.35, 0.09, 0.2, -0.4
DIAGONALS = (np.array([True, False, False, True]), np.array([False, True, True, False]))


def _about(axis: int, angle: float) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[[1, 0, 0], [0, c, -s], [0, s, c]], [[c, 0, s], [0, 1, 0], [-s, 0, c]]][axis])


def foot(leg: int, q: np.ndarray) -> np.ndarray:
    """Foot in the base frame: the closed form of spec mpc_net 8.1, in place of MuJoCo's tree."""
    signs = np.array([1 if LEGS[leg][1] == "F" else -1, 1 if LEGS[leg][0] == "L" else -1, 1])
    hip, thigh, shank, end = (np.array(o) * signs for o in (HIP, THIGH, SHANK, FOOT))
    return hip + _about(0, q[0]) @ (thigh + _about(1, q[1]) @ (shank + _about(1, q[2]) @ end))


def jacobian(leg: int, q: np.ndarray, step: float = 1e-6) -> np.ndarray:
    return np.stack([(foot(leg, q + d) - foot(leg, q - d)) / (2 * step) for d in step * np.eye(3)], axis=1)


def inverse(leg: int, target: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Joint angles that put the foot on the target, by Newton's method from `q`."""
    for _ in range(20):
        error = target - foot(leg, q)
        if np.abs(error).max() < 1e-7:
            break
        q = q + np.linalg.solve(jacobian(leg, q), error)
    return q


def swing_height(t: float) -> tuple[float, float, float]:
    """Height, velocity and acceleration of two cubic Hermite pieces over the apex (spec mpc_net 8.2)."""
    half = 0.5 * SWING
    first = t < half
    s = (t if first else t - half) / half
    start, end = ((0.0, half * LIFT_OFF), (APEX, 0.0)) if first else ((APEX, 0.0), (0.0, half * TOUCH_DOWN))
    (p0, m0), (p1, m1) = start, end
    cubic = np.polynomial.Polynomial([p0, m0, 3 * (p1 - p0) - 2 * m0 - m1, 2 * (p0 - p1) + m0 + m1])
    return cubic(s), cubic.deriv()(s) / half, cubic.deriv(2)(s) / half**2


def stand(t: float, x: np.ndarray) -> tuple:
    forces = np.tile([0.0, 0.0, MASS * GRAVITY / 4], 4)
    return standing_state(), np.concatenate([forces, np.zeros(12)]), np.ones(4, bool)


class TrotInPlace:
    """Diagonal pairs swing in turn after `settle` seconds of standing; the feet that stand share the weight.

    The base reference stays at the origin. On two point feet the base is an inverted pendulum about the line between
    them, which no controller of the forces can hold; so the swinging feet land where the pendulum comes to rest,
    displaced by `p + capture v` of the estimated base (m, m/s), and `centring p` beyond to come back. With
    `placement=False` they land where they were, and the robot falls sideways within seconds.
    """

    def __init__(self, settle: float = 0.5, capture: float = 0.24, centring: float = 0.1, placement: bool = True):
        self.settle, self.capture, self.centring, self.placement = settle, capture, centring, placement
        self._home, self._joints = standing_state(), standing_state()[12:]
        self._nominal = np.array([foot(i, self._home[12 + 3 * i : 15 + 3 * i]) for i in range(4)])
        self._feet, self._lifted, self._swing = self._nominal.copy(), self._nominal.copy(), -1

    def __call__(self, t: float, x: np.ndarray) -> Reference:
        if t < self.settle:
            return Reference(*stand(t, x))
        swing, since = divmod(t - self.settle + 1e-9, SWING)
        if swing != self._swing:
            self._swing, self._lifted = swing, self._feet.copy()
        contacts = DIAGONALS[int(swing) % 2]
        velocities, accelerations = np.zeros((4, 3)), np.zeros((4, 3))
        s = since / SWING
        blend, rate, curve = (3 - 2 * s) * s**2, 6 * (1 - s) * s / SWING, 6 * (1 - 2 * s) / SWING**2
        for i in np.flatnonzero(~contacts):
            way = self._nominal[i, :2] + self._offset(x) - self._lifted[i, :2]
            height, velocity, acceleration = swing_height(since)
            self._feet[i] = [*(self._lifted[i, :2] + blend * way), self._nominal[i, 2] + height]
            velocities[i], accelerations[i] = [*(rate * way), velocity], [*(curve * way), acceleration]
        self._feet[contacts, 2] = self._nominal[contacts, 2]
        return self._reference(contacts, velocities, accelerations)

    def _offset(self, x: np.ndarray) -> np.ndarray:
        """Displacement of the footholds; the base is level enough to read its velocity in the world."""
        return ((1 + self.centring) * x[3:5] + self.capture * x[9:11]) * self.placement

    def _reference(self, contacts: np.ndarray, velocities: np.ndarray, accelerations: np.ndarray) -> Reference:
        x, u, joints = self._home.copy(), np.zeros(24), np.zeros(12)
        for i in range(4):
            part = slice(3 * i, 3 * i + 3)
            q = self._joints[part] = inverse(i, self._feet[i], self._joints[part])
            rates = np.linalg.inv(jacobian(i, q))
            x[12:][part], u[12:][part] = q, rates @ velocities[i]
            joints[part] = rates @ accelerations[i]  # without Jdot qdot, which is small here
        u[:12].reshape(4, 3)[contacts, 2] = MASS * GRAVITY / 2
        return Reference(x, u, contacts, None, joints)
