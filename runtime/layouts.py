"""Published input layouts by name: two layouts may have one size, so a size proves nothing.

A manifest that claims one (`layout`) must lay its inputs out exactly so: the same terms, settings, order, joints and
modes in every network. A layout of one's own is named `custom/` and the first 16 digits of its digest.
"""

from __future__ import annotations

import hashlib
import json

from runtime.errors import Refused
from runtime.manifest import Manifest

LAYOUTS: dict[str, str] = {
    "sonic/default": "23626dfc671896d410dc9d063862f0f86b67facaad2c811cbc10377917bd1488",
    "sonic/v1_1": "577c34d7e58b4167453247e76e7e5fae6c271df46d81938123220bae290c1aa6",
    "sonic/low_latency": "fb96ba575f6dd1841d6910cc8e2d689beafb70948448f09deca07ce9463723dd",
    "sonic/release_python_names": "8f97a115d32cbdfd25195521e500fee26c03180d3c7a66a9fe6926566ccdcf0b",
    "sonic/decoder": "d1be6cfc81172aeed95d0cfa170aa20fd2928870e9fed054fc496bcd3fd4e722",
}
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
