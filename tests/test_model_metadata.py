"""What a network says of itself, where its manifest lets that count."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from runtime.errors import Refused
from runtime.manifest_reader import load_manifest
from runtime.model_metadata import adopt_metadata

HOLOSOMA = load_manifest("holosoma-velocity")
NAMES = list(HOLOSOMA.order.names)


def test_gains_of_the_network_replace_those_of_the_manifest() -> None:
    adopted = adopt_metadata(HOLOSOMA, {"dof_names": json.dumps(NAMES), "kp": json.dumps([30.0] * 29), "kd": "[1.5]"})
    np.testing.assert_array_equal(adopted.kp, np.full(29, 30, np.float32))
    np.testing.assert_array_equal(adopted.kd, np.full(29, 1.5, np.float32))


def test_comma_separated_text_is_understood() -> None:
    csv = adopt_metadata(HOLOSOMA, {"dof_names": ", ".join(NAMES), "kp": ",".join(["20"] * 29)})
    np.testing.assert_array_equal(csv.kp, np.full(29, 20, np.float32))


def test_a_network_without_metadata_leaves_the_manifest() -> None:
    np.testing.assert_array_equal(adopt_metadata(HOLOSOMA, {}).kp, HOLOSOMA.kp)


def test_metadata_that_the_manifest_does_not_name_does_not_count() -> None:
    twist2 = load_manifest("twist2")
    np.testing.assert_array_equal(adopt_metadata(twist2, {"kp": "1"}).kp, twist2.kp)


def test_a_default_pose_moves_the_offset_with_it() -> None:
    manifest = replace(HOLOSOMA, metadata_keys={"default_pose": "default_joint_pos", "action_scale": "action_scale"})
    adopted = adopt_metadata(manifest, {"default_joint_pos": "0.1", "action_scale": "0.5"})
    np.testing.assert_allclose(adopted.action_offset, 0.1)
    np.testing.assert_allclose(adopted.action_scale, 0.5)


@pytest.mark.parametrize("metadata", [
    {"dof_names": json.dumps(NAMES[::-1])},
    {"dof_names": json.dumps(NAMES[:-1])},
    {"kp": "[1, 2]"},
    {"kp": "stiff"},
    {"kp": "[NaN]"},
    {"kp": "{}"},
    {"kp": "[-1]"},
    {"kd": "[1e9]"},
])
def test_metadata_of_another_robot_is_refused(metadata: dict[str, str]) -> None:
    with pytest.raises(Refused):
        adopt_metadata(HOLOSOMA, metadata)
