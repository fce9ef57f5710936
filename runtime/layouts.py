"""Published input layouts by name: two layouts may have one size, so a size proves nothing.

A manifest that claims one (`layout`) must lay its inputs out exactly so: the same terms, settings, order, joints and
modes in every network. A layout of one's own is named `custom/` and the first 16 digits of its digest.
"""

from __future__ import annotations

import hashlib
import json

from runtime.errors import Refused
from runtime.manifest import Manifest

LAYOUTS: dict[str, str] = {}
"""Published layout -> its digest, as `export/sonic.py` makes it from the published files (tests/test_sonic.py)."""
CUSTOM = "custom/"


def layout_digest(manifest: Manifest) -> str:
    """Hex SHA-256 over everything that decides which number stands where in every network's inputs."""
    laid_out = {
        "joints": manifest.order.names,
        "modes": manifest.modes,
        "networks": [
            *([stage.name, stage.inputs, stage.modes, stage.instead] for stage in manifest.stages),
            ["", manifest.inputs],
        ],
    }
    return hashlib.sha256(json.dumps(laid_out, sort_keys=True).encode()).hexdigest()


def layout_name(digest: str) -> str:
    """The published name of a layout, or its own."""
    return next((name for name, known in LAYOUTS.items() if known == digest), CUSTOM + digest[:16])


def check_layout(manifest: Manifest) -> None:
    """The inputs are laid out as the manifest claims.

    Raises:
        Refused: they are not, or nobody knows the claimed layout.
    """
    claimed = manifest.layout_id
    if not claimed:
        return
    if claimed not in LAYOUTS and not claimed.startswith(CUSTOM):
        raise Refused(f"layout of {manifest.name}", expected=f"one of {', '.join(LAYOUTS)} or {CUSTOM}<digest>",
                      found=claimed, what_to_do="export the controller again")
    found = layout_digest(manifest)
    if layout_name(found) != claimed:
        raise Refused(
            f"layout of {manifest.name}", expected=f"inputs laid out as {claimed}",
            found=f"those of {layout_name(found)}",
            what_to_do="the inputs were changed after export, or are another network's: export the controller again",
        )
