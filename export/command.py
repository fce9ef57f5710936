"""`exoactor export`: one table of offline jobs, each imported only when it is asked for."""

from __future__ import annotations

import argparse

from export.jobs import Jobs, add_job_arguments, run_job

JOBS: Jobs = {
    "controller": ("export.controller_command", "turn a trained network and a manifest into a signed bundle"),
    "manifest": ("export.manifest_command", "write a manifest from what a publisher ships: deploy.yaml, metadata"),
    "robot": ("export.robot_command", "write a robot's file from its MJCF plant"),
    "bundle": ("export.bundle_command", "sign, verify or look into a bundle; make and trust keys"),
    "parity": ("export.parity_command", "compare a bundle's network on every backend, observation by observation"),
    "engine": ("export.engine_command", "build a TensorRT engine for this machine's GPU"),
    "sonic": ("export.sonic_command", "bundle SONIC's encoder and decoder, or networks with the same signatures"),
    "clips": ("export.clips_command", "make the demonstration motions that ship"),
    "distill": ("export.distill_command", "train a small student to do what a teacher bundle does"),
    "motion-estimator": ("export.imagine.motion_estimator.command", "train our own estimator of a person's motion in a "
                         "video"),
    "estimator": ("export.estimator_command", "train and export a base-velocity estimator"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The job's name, and everything after it for the job itself."""
    add_job_arguments(parser, "export", JOBS)


def run(args: argparse.Namespace) -> int:
    """One job; returns its exit code."""
    return run_job(args, "export", JOBS)
