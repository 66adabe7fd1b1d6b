# SPDX-License-Identifier: Apache-2.0
"""Fine-tuning: world model and policy go on from data of the robot that the policy runs on."""
