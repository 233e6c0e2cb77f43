"""Trains on a cluster of Kubernetes: files go to a shared volume, pods train, weights come back from there."""

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path, PurePosixPath
from threading import Thread
from typing import ClassVar, Final

from pydantic import Field

from shoal_training.errors import LaunchError
from shoal_training.frameworks.trainer import Fitted, Samples, TrainContext, Trainer
from shoal_training.launchers.cluster import Cluster
from shoal_training.launchers.job import raise_error, write_job
from shoal_training.launchers.kubernetes_manifests import DnsLabel, Manifest, Pods, manifests
from shoal_training.launchers.launcher import Launcher
from shoal_training.launchers.told import Told
from shoal_training.progress import silent

JOB, CHECKPOINTS = "job", "checkpoints"
_LAST_LINES_S: Final = 10.0
"""How long the log may take to end after the Job has."""


class Kubernetes(Launcher, Pods):
    """Pods of a cluster, under a Job; several train together by torchrun."""

    kind: ClassVar[str] = "kubernetes"

    namespace: DnsLabel = "default"
    context: str | None = None
    """Of the kubeconfig file; its current one without, or the cluster that this runs in."""
    volume_folder: str = Field(min_length=1)
    """Where this machine has the volume that pods mount."""
    keep_objects: bool = False
    """Whether the Job is left in the cluster when it has ended, to look at."""

    def misfit(self, trainer: Trainer) -> str:
        """See `Launcher`."""
        if trainer.is_distributed:
            return ""
        found = f"kubernetes trains networks of PyTorch by torchrun, not {trainer.framework}"
        return f"{found}; name the framework torch, or the launcher local"

    def fit(self, trainer: Trainer, train: Samples, held_out: Samples | None, context: TrainContext) -> Fitted:
        """See `Launcher`."""
        name = job_name(context.folder)
        shared = Path(self.volume_folder) / name
        told = Told(context)
        cluster = Cluster(self.namespace, self.context)
        # A Job without its files is of a training that is over, whose objects were kept.
        if not ((shared / JOB).is_dir() and cluster.may_be_followed(name)):
            cluster.clear(name)
            if context.folder.is_dir() and not (shared / CHECKPOINTS).exists():
                shutil.copytree(context.folder, shared / CHECKPOINTS)  # what another launcher has begun
            (shared / CHECKPOINTS).mkdir(parents=True, exist_ok=True)
            write_job(shared / JOB, trainer, train, held_out, context, checkpoints=f"../{CHECKPOINTS}")
            for one in self.rendered(name):
                cluster.create(one)
        self._follow(cluster, name, told, shared)
        shutil.copytree(shared / CHECKPOINTS, context.folder, dirs_exist_ok=True)
        found = trainer.fit(train, held_out, replace(context, progress=silent, metric=told.metric))
        shutil.rmtree(shared, ignore_errors=True)
        return found

    def rendered(self, name: str) -> list[Manifest]:
        """Return the objects that a training of this name would create."""
        return manifests(name, self, str(PurePosixPath(self.mount_path) / name / JOB))

    def _follow(self, cluster: Cluster, name: str, told: Told, shared: Path) -> None:
        """Wait for the end, and hand on what is told meanwhile.

        What this process was killed amid goes on in the cluster; the next run follows it.
        """

        def read() -> None:
            for line in cluster.log_lines(name):
                told.take(line)

        lines = Thread(target=read, daemon=True)
        lines.start()
        ended = cluster.wait(name)
        lines.join(_LAST_LINES_S)
        words = "" if ended.is_complete else cluster.last_words(name)
        if not self.keep_objects:
            cluster.delete(name)
        raise_error(shared / JOB)
        if not ended.is_complete:
            raise LaunchError(f"training on {self.namespace}/{name}: {ended.reason}. The pods said: {words}")


def job_name(folder: Path) -> str:
    """Return the name of a training's Job: the same for the same folder of checkpoints, so that it is found again."""
    return f"shoal-{hashlib.sha256(folder.name.encode()).hexdigest()[:12]}"
