"""What every `costogo train` command asks for: where the run is, and whether it goes on."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

from costogo.io import RunFolder


@dataclass(frozen=True)
class RunOptions:
    """Options of a run folder; put before the learner's configuration among the bases of a command."""

    out: Path | None = None
    """run folder; by default runs/LEARNER-SYSTEM and so on"""
    resume: bool = False
    """go on from the newest checkpoint of the folder"""
    tensorboard: bool = False
    """also write TensorBoard events"""

    learner: ClassVar[str]
    config_type: ClassVar[type]

    def __post_init__(self):
        """Nothing: `run` checks, so that a mistake is answered in one line."""

    def label(self) -> tuple[str, ...]:
        """What tells this run from others of the learner, in the name of its folder."""
        raise NotImplementedError

    @property
    def folder(self) -> Path:
        """Where the run is."""
        return self.out or Path("runs") / "-".join(part for part in (self.learner, *self.label()) if part)

    @property
    def after_interrupt(self) -> str:
        """What to do after Ctrl-C."""
        return f"The run is saved in {self.folder}; the same command with --resume goes on."

    def config(self) -> Any:
        """The learner's configuration, checked."""
        return self.config_type(**{field.name: getattr(self, field.name) for field in fields(self.config_type)})

    def open(self, config: Any) -> RunFolder:
        """The run folder, new or resumed."""
        settings, defaults = {"learner": self.learner, **vars(config)}, vars(type(config)())
        return RunFolder.create(self.folder, settings, resume=self.resume, defaults=defaults)
