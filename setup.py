"""Package metadata, and the one list of requirements that installs, the Makefile and CI all read."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
README = ROOT / "README.md"
(VERSION,) = re.findall(r'^__version__ = "(.+)"$', (ROOT / "exoactor.py").read_text("utf-8"), re.MULTILINE)

# No cyclonedds wheel exists for aarch64 Linux; there the DDS endpoint loads the distribution's own libddsc.
CYCLONEDDS = 'cyclonedds>=0.10.5; platform_machine != "aarch64"'
MCAP = "mcap>=1.1"
ONNXRUNTIME = "onnxruntime>=1.21"  # 1.23.2 is the last one for Python 3.10
PYSERIAL = "pyserial>=3.5"
PYNACL = "PyNaCl>=1.5"
PYTHON_CAN = "python-can>=4.3"
PYZMQ = "pyzmq>=25"
MSGPACK = "msgpack>=1.0"

# JetPack 6 (aarch64, Python 3.10) has no use for either: its TensorRT comes with the system, its
# onnxruntime-gpu from NVIDIA's own index.
GPU_WHEELS_EXIST = 'platform_machine != "aarch64" or python_version >= "3.12"'

SIM = ["mujoco>=3.2", ONNXRUNTIME, CYCLONEDDS, MCAP, PYNACL]  # mujoco 3.17 is the last one for Python 3.10
ROBOT = [ONNXRUNTIME, PYSERIAL, MCAP, CYCLONEDDS, PYNACL]
# Instead of `robot`, never beside it: onnxruntime and onnxruntime-gpu install over each other.
GPU = [
    f"onnxruntime-gpu>=1.20; {GPU_WHEELS_EXIST}",
    f"tensorrt-cu13-bindings>=10.13; {GPU_WHEELS_EXIST}",
    PYSERIAL,
    MCAP,
    CYCLONEDDS,
    PYNACL,
]
EXPORT = ["torch>=2.4", "onnx>=1.16", ONNXRUNTIME, "PyYAML>=6", "scipy>=1.11", "smplx>=0.1.28", "tqdm>=4.60", *SIM]
# What `bench --only retarget` and `bench --only serial` compare with; the latter also prove our emulated drives.
BENCH = ["mink>=1.0", "daqp>=0.6", "moteus>=1.1", PYTHON_CAN, "dynamixel-sdk>=4.0", PYSERIAL]
IMAGINE = ["httpx>=0.27", "av>=12", *SIM]
SHOW = ["viser>=1.0", "av>=12", *SIM]

DEV = [
    "pytest>=8",
    "pytest-xdist>=3.5",
    "hypothesis>=6.100",
    "joblib>=1.3",
    "ruff>=0.6",
    "mypy>=1.11",
    "import-linter>=2.1",
    "packaging>=23",
    "types-PyYAML",
    PYZMQ,
    MSGPACK,
    # One release, so that tests need no GPU build: a range would take the newest, with gigabytes of CUDA.
    'torch==2.13.0; python_version >= "3.11"',
    *dict.fromkeys(SIM + SHOW + IMAGINE + ROBOT + BENCH),
    *(wish for wish in EXPORT if not wish.startswith(("torch", "smplx")) and wish not in SIM),
]

FUZZ = ['atheris>=2.3; python_version < "3.13"']  # wheels for x86-64 Linux; without it, seeded mutants are tried

FLOORS = ("runtime", "firmware_bridge", "calibration", "export")

setup(
    name="exoactor",
    version=VERSION,
    description="On-robot runtime for whole-body controllers on the Unitree G1",
    long_description=README.read_text("utf-8") if README.exists() else "",
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE", "NOTICE"],
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering",
    ],
    python_requires=">=3.10",
    install_requires=["numpy>=1.26"],
    extras_require={
        "sim": SIM, "robot": ROBOT, "gpu": GPU, "export": EXPORT, "show": SHOW, "imagine": IMAGINE, "dev": DEV,
        "stream": [PYZMQ, MSGPACK], "can": [PYTHON_CAN], "cluster": ["distributed>=2024.1", "ray>=2.9"],
        "bench": SIM + BENCH, "fuzz": FUZZ, "calibration": SIM,
    },
    py_modules=["exoactor"],
    packages=find_packages(
        include=[f"{floor}{below}" for floor in FLOORS for below in ("", ".*")],
    ),
    package_data={
        "runtime": [
            "robots/*.json", "retargets/*.json", "controllers/*.json", "controllers/*/*", "estimators/*/*",
            "clips/*.npz", "chains/*.json", "hands/*.json", "trusted_keys/*.pub", "*.json",
        ],
        "export": ["imagine/providers/*.json", "imagine/motion_estimators/*/*"],
        "firmware_bridge": ["plants/*.xml", "wirings/*.json", "mcu/*.c", "mcu/*.h"],
    },
    entry_points={"console_scripts": ["exoactor = exoactor:main"]},
)
