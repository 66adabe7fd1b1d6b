# SPDX-License-Identifier: Apache-2.0
"""The model's cameras as topics, drawn on a thread of its own so that they cannot slow physics."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import mujoco
import numpy as np
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from pwm_mujoco.messages import stamp
from pwm_mujoco.model_sensors import ros_name
from pwm_mujoco.offscreen import Offscreen, camera_named, focal_length, require_renderer
from pwm_mujoco.world import World

PICTURES = QoSProfile(depth=2)


@dataclass(frozen=True)
class CameraSettings:
    """Which cameras, how large, how often."""

    names: Sequence[str]
    """In the model; none are drawn that are not named."""
    width: int
    """Pixels."""
    height: int
    """Pixels."""
    rate: float
    """Pictures of each camera per wall second, at most."""


class Cameras(threading.Thread):
    """Publishes ``camera/NAME/image_raw`` and ``camera/NAME/camera_info`` until :meth:`stop`.

    Raises ``ValueError`` for a camera that there is not, or where nothing can be drawn.
    """

    def __init__(
        self, node: Node, world: World, lock: threading.Condition, settings: CameraSettings
    ) -> None:
        super().__init__(name="cameras", daemon=True)
        for name in settings.names:
            camera_named(world.environment.model, name)
        self._backend = require_renderer()
        self._node, self._world, self._lock, self._settings = node, world, lock, settings
        self._stopped = threading.Event()
        self._topics = {}
        for name in settings.names:
            prefix = f"camera/{ros_name(name)}"
            self._topics[name] = (
                node.create_publisher(Image, f"{prefix}/image_raw", PICTURES),
                node.create_publisher(CameraInfo, f"{prefix}/camera_info", PICTURES),
            )

    def run(self) -> None:
        try:
            while not self._stopped.is_set():
                self._show_environment()
        except Exception as error:  # a driver's failure must not end the simulation
            self._node.get_logger().error(f"no more pictures: {error}")

    def stop(self) -> None:
        """Draw no more."""
        self._stopped.set()
        self.join(timeout=5.0)

    def _show_environment(self) -> None:
        """Draw the present environment until another task brings another."""
        environment = self._world.environment
        size = (self._settings.width, self._settings.height)
        offscreen = Offscreen(self._backend, environment.model, *size)
        try:
            while not self._stopped.wait(1.0 / self._settings.rate):
                if self._world.environment is not environment:
                    return
                for name in self._settings.names:
                    self._show(offscreen, environment.model, name)
        finally:
            offscreen.free()

    def _show(self, offscreen: Offscreen, model: mujoco.MjModel, name: str) -> None:
        camera = camera_named(model, name)
        with self._lock:
            if self._world.fault is not None:
                return
            offscreen.look(self._world.environment.data, camera)
            time = stamp(self._world.time)
        picture = offscreen.draw()
        header = Header(stamp=time, frame_id=f"{ros_name(name)}_optical_frame")
        images, infos = self._topics[name]
        images.publish(image_message(header, picture))
        infos.publish(
            camera_info_message(header, picture.shape, focal_length(model, camera, len(picture)))
        )


def image_message(header: Header, picture: np.ndarray) -> Image:
    """Return a picture ``[height, width, 3]``, uint8."""
    height, width, channels = picture.shape
    return Image(
        header=header,
        height=height,
        width=width,
        encoding="rgb8",
        step=width * channels,
        data=picture.tobytes(),
    )


def camera_info_message(header: Header, shape: tuple[int, ...], focal: float) -> CameraInfo:
    """Return the model of a camera without distortion; ``focal`` in pixels."""
    height, width, _ = shape
    centre_x, centre_y = width / 2, height / 2
    return CameraInfo(
        header=header,
        height=height,
        width=width,
        distortion_model="plumb_bob",
        d=[0.0] * 5,
        k=[focal, 0.0, centre_x, 0.0, focal, centre_y, 0.0, 0.0, 1.0],
        r=[1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
        p=[focal, 0.0, centre_x, 0.0, 0.0, focal, centre_y, 0.0, 0.0, 0.0, 1.0, 0.0],
    )
