"""What settings are: typed, within their ranges, and the same as data (JSON, YAML) and as objects."""

from gnncomm.config.check import require_ranges, require_types
from gnncomm.config.data import HasOwnForm, from_json, leaves, to_json

__all__ = ["HasOwnForm", "from_json", "leaves", "require_ranges", "require_types", "to_json"]
