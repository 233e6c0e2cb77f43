"""What a training is on Kubernetes: a Job of one pod, or an Indexed Job whose pods meet by torchrun. Pure.

Pods meet at the name of the first one, which a headless Service gives them. Sources: the API reference of `batch/v1`
Job and `v1` Service; PyTorch's guide to torchrun's c10d rendezvous.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from shoal_compression.values import Value

RENDEZVOUS_PORT: Final = 29400
LABEL: Final = "app.kubernetes.io/instance"
CONTAINER: Final = "train"
_SHARED_MEMORY: Final = "/dev/shm"  # noqa: S108 - where Linux has it, in a pod of its own
Manifest = dict[str, Any]
Quantity = Annotated[str, Field(pattern=r"^\d+(\.\d+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$")]
"""As Kubernetes writes amounts: 500m, 2, 8Gi."""
DnsLabel = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")]


class Toleration(Value):
    """A taint of nodes that pods may be put on all the same."""

    key: str
    operator: Literal["Exists", "Equal"] = "Exists"
    value: str | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None


class Pods(Value):
    """The pods of a training."""

    image: str = Field(min_length=1, max_length=1024)
    """With Shoal and the framework: the hub's image has them."""
    nodes: int = Field(default=1, ge=1, le=1024)
    """Pods that train together."""
    processes: int = Field(default=1, ge=1, le=64)
    """In each pod: one a GPU."""
    cpu: Quantity = "1"
    """Of each pod; what it is promised, and held to."""
    memory: Quantity = "4Gi"
    """As above."""
    gpus: int = Field(default=0, ge=0, le=64)
    """Of each pod."""
    gpu_resource: str = "nvidia.com/gpu"
    node_selector: dict[str, str] = Field(default_factory=dict, max_length=32)
    tolerations: tuple[Toleration, ...] = Field(default=(), max_length=32)
    volume_claim: DnsLabel
    """A PersistentVolumeClaim that all pods and this machine can write (ReadWriteMany): samples go in, weights come
    out."""
    mount_path: str = Field(default="/shoal", pattern=r"^/[^:]*$")
    """Where pods have it."""
    service_account: DnsLabel | None = None
    max_restarts: int = Field(default=3, ge=0, le=100)
    """Of the processes within a pod, and of each pod."""
    deadline_s: int = Field(default=86_400, ge=60)
    """After which the training is given up."""
    keep_s: int = Field(default=3_600, ge=0)
    """How long Kubernetes keeps what has ended, with its logs."""

    @model_validator(mode="after")
    def _check_gpus(self) -> Self:
        if self.gpus and self.processes > self.gpus:
            raise ValueError(f"{self.processes} processes share {self.gpus} GPUs in a pod; give each one of its own")
        return self


def manifests(name: str, pods: Pods, folder: str) -> list[Manifest]:
    """Return the objects of a training, in the order to create them.

    Args:
        name: Of the Job; a DNS label.
        pods: What runs it.
        folder: Of the job's files, as pods see it.
    """
    return [_job(name, pods, folder)] if pods.nodes == 1 else [_service(name), _job(name, pods, folder)]


def command(name: str, pods: Pods, folder: str) -> list[str]:
    """Return what each pod runs: torchrun, alone or together with the others."""
    meet = (
        ("--standalone",)
        if pods.nodes == 1
        else (
            f"--nnodes={pods.nodes}",
            "--rdzv-backend=c10d",
            f"--rdzv-endpoint={name}-0.{name}:{RENDEZVOUS_PORT}",
            f"--rdzv-id={name}",
        )
    )
    workers = (f"--nproc-per-node={pods.processes}", f"--max-restarts={pods.max_restarts}")
    return ["python", "-m", "torch.distributed.run", *meet, *workers, "-m", "shoal_training.launchers.worker", folder]


def _job(name: str, pods: Pods, folder: str) -> Manifest:
    indexed: Manifest = {}
    if pods.nodes > 1:
        indexed = {
            "completionMode": "Indexed",
            "completions": pods.nodes,
            "parallelism": pods.nodes,
            "backoffLimitPerIndex": pods.max_restarts,
        }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "labels": _labels(name)},
        "spec": {
            **indexed,
            **({"backoffLimit": pods.max_restarts} if pods.nodes == 1 else {}),
            "activeDeadlineSeconds": pods.deadline_s,
            "ttlSecondsAfterFinished": pods.keep_s,
            "template": {"metadata": {"labels": _labels(name)}, "spec": _pod(name, pods, folder)},
        },
    }


def _pod(name: str, pods: Pods, folder: str) -> Manifest:
    amounts: dict[str, str] = {"cpu": pods.cpu, "memory": pods.memory}
    if pods.gpus:
        amounts[pods.gpu_resource] = str(pods.gpus)
    container: Manifest = {
        "name": CONTAINER,
        "image": pods.image,
        "command": command(name, pods, folder),
        "env": [
            {"name": "OMP_NUM_THREADS", "value": "1"},
            {"name": "TORCH_DISABLE_SHARE_RDZV_TCP_STORE", "value": "1"},
        ],
        "resources": {"requests": amounts, "limits": amounts},
        "volumeMounts": [
            {"name": "job", "mountPath": pods.mount_path},
            {"name": "memory", "mountPath": _SHARED_MEMORY},
        ],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    if pods.nodes > 1:
        container["ports"] = [{"name": "rendezvous", "containerPort": RENDEZVOUS_PORT}]
    spec: Manifest = {
        "restartPolicy": "Never",
        "containers": [container],
        "volumes": [
            {"name": "job", "persistentVolumeClaim": {"claimName": pods.volume_claim}},
            {"name": "memory", "emptyDir": {"medium": "Memory"}},  # processes of one pod meet in shared memory
        ],
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "automountServiceAccountToken": False,
    }
    return spec | _optional(name, pods)


def _optional(name: str, pods: Pods) -> Manifest:
    spec: Manifest = {}
    if pods.nodes > 1:
        spec["subdomain"] = name
    if pods.node_selector:
        spec["nodeSelector"] = dict(pods.node_selector)
    if pods.tolerations:
        spec["tolerations"] = [one.model_dump(exclude_none=True) for one in pods.tolerations]
    if pods.service_account:
        spec["serviceAccountName"] = pods.service_account
    return spec


def _service(name: str) -> Manifest:
    """Return the headless Service by which pods have names; also before they are ready, as they meet before that."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "labels": _labels(name)},
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": _labels(name),
            "ports": [{"name": "rendezvous", "port": RENDEZVOUS_PORT}],
        },
    }


def _labels(name: str) -> Mapping[str, str]:
    return {"app.kubernetes.io/name": "shoal-training", LABEL: name}
