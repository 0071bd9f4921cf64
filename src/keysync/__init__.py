"""KeySync: lip-sync a video to a new speech track; nothing but the mouth changes."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from keysync.config import SyncConfig
    from keysync.errors import KeySyncError
    from keysync.models import Models, load_models
    from keysync.pipeline import sync, sync_file
    from keysync.report import Report

__all__ = ["KeySyncError", "Models", "Report", "SyncConfig", "load_models", "sync", "sync_file"]
__version__ = "0.1.0"

_HOMES = {
    "KeySyncError": "errors",
    "Models": "models",
    "Report": "report",
    "SyncConfig": "config",
    "load_models": "models",
    "sync": "pipeline",
    "sync_file": "pipeline",
}


def __getattr__(name: str) -> Any:
    """Load what is asked for and no more: torch takes a second, and ``keysync check`` can do without."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
