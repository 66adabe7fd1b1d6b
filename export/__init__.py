# SPDX-License-Identifier: Apache-2.0
"""Policy bundles: an actor as one ONNX file with everything a robot must know of it."""
