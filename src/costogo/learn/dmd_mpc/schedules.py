"""Schedules of horizons and sizes over epochs."""

import equinox as eqx

from costogo.core.validate import require


class LinearSchedule(eqx.Module):
    """`[first_epoch, last_epoch, first, last]`: `first` up to the first epoch, linear to `last`, then constant; the
    whole part of it (spec dmd_mpc section 8, as MBPO writes its schedules)."""

    first_epoch: int = eqx.field(static=True)
    last_epoch: int = eqx.field(static=True)
    first: int = eqx.field(static=True)
    last: int = eqx.field(static=True)

    def __check_init__(self):
        require(
            self.first_epoch < self.last_epoch,
            f"the schedule runs from epoch {self.first_epoch} to {self.last_epoch}; pass a later last epoch",
        )
        require(min(self.first, self.last) >= 1, f"the schedule goes from {self.first} to {self.last}; pass 1 or more")

    def __call__(self, epoch: int) -> int:
        """Value at an epoch."""
        # In whole numbers: 29 / 100 * 100 is 28.999999999999996 in floating point.
        length = self.last_epoch - self.first_epoch
        done = min(max(epoch - self.first_epoch, 0), length)
        return (self.first * length + done * (self.last - self.first)) // length

    @property
    def largest(self) -> int:
        """The largest value it takes."""
        return max(self.first, self.last)


def constant(value: int) -> LinearSchedule:
    """A schedule that stays."""
    return LinearSchedule(0, 1, value, value)
