"""The Docker engine: each job in a container that can reach nothing. The only module that imports docker-py.

podman's socket speaks the same protocol; it is found through DOCKER_HOST.
"""

from __future__ import annotations

import os
import tempfile
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import docker
import requests.exceptions
from docker.errors import APIError, DockerException, ImageNotFound, NotFound
from docker.types import DeviceRequest, Mount, Ulimit

from numdev import stacks
from numdev.engines.protocol import Ending, Environment, Launch, Say, shown, stack_digest, supervisor, variables
from numdev.errors import EngineUnavailable, StackFailed, StorageFailed
from numdev.spec.architecture import own
from numdev.spec.stack import Stack
from numdev.stacks.platform import ARCHITECTURES

JOB, OUT, SITE, PYTHON = "/numdev/job", "/numdev/out", "/opt/numdev/site", "/usr/bin/python3"
EMULATOR = "/numdev/emulator"
LABEL = "org.numdev.run"
_TICK = 0.05
_LOG_TAIL = 20
_NOBODY = 65534
_ANSWER_TIMEOUT = 600


def connect() -> docker.DockerClient:
    """A client for the engine that DOCKER_HOST or the default socket leads to.

    Raises:
        EngineUnavailable: none answers.
    """
    try:
        client = docker.from_env(timeout=_ANSWER_TIMEOUT)
        client.ping()
    except (DockerException, requests.exceptions.RequestException, ValueError) as error:
        where = os.environ.get("DOCKER_HOST") or "the default socket"
        raise EngineUnavailable(
            f"No Docker engine answers at {where}.",
            " ".join(str(error).split())[:300],
            "Start one (for example `sudo systemctl start docker`), check that you may use its socket, or use "
            "`--engine local`, which isolates nothing.",
        ) from None
    return client


class DockerEngine:
    """Runs jobs in containers: no network, read-only root, no rights, limits on memory, processes and CPUs."""

    name = "docker"

    def __init__(self, cache: Path) -> None:
        self.client = connect()
        self.cache = cache
        self.run_id = uuid.uuid4().hex
        self._stopping = threading.Event()

    def facts(self) -> dict[str, Any]:
        version = self.client.version()
        return {
            "engine": self.name,
            "version": version.get("Version", ""),
            "kernel": version.get("KernelVersion", ""),
        }

    def environment(self, stack: Stack, say: Say) -> Environment:
        plan = stacks.image_plan(stack, self.cache, say)
        if plan.context is not None:
            return self._built(stack, plan.context, say)
        if not self._has(plan.image_id):
            say(f"{stack.name}: loading the image")
            self._load(plan, say)
        facts = {"image": plan.image_id, "reproducible": True, "labels": dict(plan.labels)}
        other = "" if stack.architecture == own() else stack.architecture
        digest = stack_digest(stack, plan.site_digest)
        return Environment(
            plan.image_id,
            digest,
            facts,
            SITE,
            PYTHON,
            based=True,
            architecture=other,
            variables=stacks.linked(stack, SITE),
            gpu=stack.gpu,
        )

    def _has(self, image: str) -> bool:
        try:
            self.client.images.get(image)
        except ImageNotFound:
            return False
        return True

    def _load(self, plan: stacks.ImagePlan, say: Say) -> None:
        try:
            with tempfile.TemporaryFile(prefix="numdev-image-") as archive:
                stacks.write_archive(plan, archive)
                archive.seek(0)
                for line in self.client.api.load_image(archive, quiet=False):
                    if isinstance(line, dict) and line.get("error"):
                        raise StackFailed(f"The engine refused the image {plan.tag}.", str(line["error"]))
        except OSError as error:
            raise StorageFailed(f"The image {plan.tag} could not be written.", str(error), "Free some space.") from None
        except APIError as error:
            raise StackFailed(f"The engine refused the image {plan.tag}.", str(error.explanation)) from None
        if not self._has(plan.image_id):
            raise StackFailed(
                f"The engine loaded {plan.tag} under another image ID than {plan.image_id}.",
                "the archive names its own content, so this engine has changed it",
                "Report this with `docker version`.",
            )

    def _built(self, stack: Stack, context: Path, say: Say) -> Environment:
        say(f"{stack.name}: building its Dockerfile (not bit-reproducible)")
        labels = {"org.numdev.stack": stack.name, "org.numdev.reproducible": "false"}
        dockerfile = stack.dockerfile.name if stack.dockerfile else "Dockerfile"
        try:
            image, _ = self.client.images.build(
                path=str(context),
                dockerfile=dockerfile,
                tag=f"numdev/{stack.name}:dockerfile",
                labels=labels,
                rm=True,
            )
        except docker.errors.BuildError as error:
            said = "".join(str(line.get("stream") or line.get("error") or "") for line in error.build_log)
            raise StackFailed(
                f"The Dockerfile of {stack.name} does not build: {error.msg}",
                said.strip()[-1500:],
                f"Try `docker build {context}`.",
            ) from None
        except (APIError, TypeError) as error:
            raise StackFailed(f"The Dockerfile of {stack.name} does not build.", str(error)) from None
        facts = {"image": image.id, "reproducible": False, "labels": labels}
        return Environment(str(image.id), stack_digest(stack, str(image.id)), facts, SITE, PYTHON)

    def emulator(self, path: str, static: bool) -> str:
        if not static:
            raise EngineUnavailable(
                f"The emulator {path} cannot run in a container.",
                "it is linked dynamically, and a stack's image has other libraries than this machine",
                "Install the static one (for example `apt-get install qemu-user-static`), or use `--engine local`.",
            )
        return EMULATOR

    def refuses(self, architecture: str) -> str:
        return ""

    def run(self, launch: Launch, poll: Callable[[], None]) -> Ending:
        user = (os.getuid(), os.getgid())
        if user[0] == 0:
            user = (_NOBODY, _NOBODY)
            # The container's user is nobody, and has to be able to write its results.
            launch.out.chmod(0o777)
        limits = launch.limits
        try:
            container = self.client.containers.create(
                launch.environment.id,
                [*launch.prefix, *_command(launch)],
                platform=f"linux/{ARCHITECTURES[other]}" if (other := launch.environment.architecture) else None,
                environment={**variables(JOB, SITE, "/tmp"), **launch.environment.variables, **launch.variables},
                user=f"{user[0]}:{user[1]}",
                working_dir="/tmp",
                entrypoint=[],
                network_mode="none",
                read_only=True,
                tmpfs={"/tmp": f"rw,nosuid,nodev,size={limits.memory // 2},mode=1777"},
                mounts=[
                    Mount(JOB, str(launch.job), type="bind", read_only=True),
                    Mount(OUT, str(launch.out), type="bind"),
                    *(Mount(there, str(here), type="bind", read_only=True) for there, here in launch.stand_ins),
                    *([Mount(EMULATOR, launch.emulator, type="bind", read_only=True)] if launch.emulator else []),
                ],
                cap_drop=["ALL"],
                security_opt=["no-new-privileges"],
                mem_limit=limits.memory,
                memswap_limit=limits.memory,
                pids_limit=limits.pids,
                nano_cpus=limits.cpus * 10**9 if limits.cpus else None,
                ulimits=[Ulimit(name="core", soft=0, hard=0)],
                labels={LABEL: self.run_id, "org.numdev.job": launch.label},
                device_requests=[DeviceRequest(count=1, capabilities=[["gpu", "compute", "utility"]])]
                if launch.environment.gpu
                else None,
            )
        except APIError as error:
            return Ending("lost", f"the engine refused the container: {error.explanation}")
        try:
            if not self._stopping.is_set():
                container.start()
            return self._wait(container, poll)
        except APIError as error:
            return Ending("lost", f"the engine failed: {error.explanation}")
        except requests.exceptions.RequestException as error:
            return Ending("lost", f"the engine does not answer any more: {error.__class__.__name__}")
        finally:
            _remove(container)

    def _wait(self, container: Any, poll: Callable[[], None]) -> Ending:
        while True:
            state = self.client.api.inspect_container(container.id)["State"]
            if state["Status"] not in ("running", "created", "restarting"):
                break
            if self._stopping.is_set():
                return Ending("lost", "stopped")
            poll()
            time.sleep(_TICK)
        poll()
        code = state["ExitCode"]
        if code == 0:
            return Ending("ok")
        log = container.logs(tail=_LOG_TAIL).decode("utf-8", "replace").strip()[-1500:]
        if state.get("OOMKilled"):
            return Ending("oom", "the container's memory limit was reached")
        if code > 128:
            return Ending(f"signal:{code - 128}", f"the container was ended by signal {code - 128}. {log}".strip())
        return Ending("failed", f"the container ended with exit code {code}. {log}".strip())

    def stop(self) -> None:
        self._stopping.set()
        try:
            for container in self.client.containers.list(all=True, filters={"label": f"{LABEL}={self.run_id}"}):
                _remove(container)
        except (DockerException, requests.exceptions.RequestException):
            # The engine is gone, and with it its containers.
            return


def _command(launch: Launch) -> list[str]:
    launcher = [PYTHON, "-S", "-B", "-m", "numdev_worker.launcher"]
    return shown(launch, launcher, JOB, supervisor(PYTHON, JOB, OUT))


def _remove(container: Any) -> None:
    try:
        container.remove(force=True)
    except NotFound:
        return
    except APIError as error:
        # Two threads may remove it at the same time.
        if error.status_code != 409:
            raise
