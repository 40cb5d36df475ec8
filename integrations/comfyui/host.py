"""What ComfyUI tells a running node, and is told by it; outside ComfyUI, nothing."""

from types import ModuleType
from typing import Protocol

try:
    import comfy.model_management as management
    from comfy import utils
except ModuleNotFoundError:
    management = utils = None


class Host(Protocol):
    def show(self, fraction: float) -> None:
        """Show how far the work is, 0 to 1."""

    def check(self) -> None:
        """Raise what ComfyUI raises when its user interrupts."""


class ComfyHost:
    """ComfyUI's progress bar and its interrupt button."""

    PARTS = 1000

    def __init__(self, utils: ModuleType, management: ModuleType) -> None:
        self._bar = utils.ProgressBar(self.PARTS)
        self._management = management

    def show(self, fraction: float) -> None:
        self._bar.update_absolute(round(fraction * self.PARTS), self.PARTS)

    def check(self) -> None:
        self._management.throw_exception_if_processing_interrupted()


class NoHost:
    def show(self, fraction: float) -> None:
        pass

    def check(self) -> None:
        pass


def current_host() -> Host:
    return ComfyHost(utils, management) if utils and management else NoHost()
