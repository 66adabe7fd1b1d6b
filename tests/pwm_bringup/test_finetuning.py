# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

from pwm_bringup.arguments import arguments_of, from_texts
from pwm_bringup.finetuning import OnlineFinetuning
from pwm_bringup.nodes import AtEnd


def parameters(**said) -> dict:
    (node,) = OnlineFinetuning(**said).nodes()
    assert (node.package, node.executable) == ("pwm_finetune", "finetune_node")
    return dict(node.parameters)


def test_what_is_not_said_is_left_to_the_parameter_file() -> None:
    files = {"policy", "world_model", "offline", "directory", "policy_dir"}
    assert set(parameters()) == {"task", "use_sim_time"} | files
    assert all(Path(parameters()[name]).is_absolute() for name in files)


def test_what_is_withheld_is_said() -> None:
    said = parameters(auto_approve=False, autostart=False, reward="topic", learner_cores="1")
    assert said["auto_approve"] is False
    assert said["autostart"] is False
    assert (said["reward"], said["learner_cores"]) == ("topic", "1")


def test_it_is_started_again_unless_told_otherwise() -> None:
    (node,) = OnlineFinetuning().nodes()
    assert node.at_end is AtEnd.RESPAWN
    (node,) = OnlineFinetuning(respawn=False).nodes()
    assert node.at_end is AtEnd.STOP


def test_its_enclave_is_its_own() -> None:
    (node,) = OnlineFinetuning(security=True).nodes()
    assert node.enclave == "/pwm/finetune_node"


def test_the_launch_file_has_an_argument_for_each_field() -> None:
    arguments = arguments_of(OnlineFinetuning)
    assert all(argument.description for argument in arguments)
    texts = {argument.name: argument.default or "" for argument in arguments}
    assert from_texts(OnlineFinetuning, texts) == OnlineFinetuning()
