"""The launcher that the settings name."""

from api.launching import Launcher, LocalLauncher
from api.slurm import SlurmLauncher
from solon.service_settings import JobOptions


def launcher(options: JobOptions) -> Launcher:
    """Where the processes of jobs run."""
    if options.launcher.type == "slurm":
        return SlurmLauncher(options.lease_s, tuple(options.launcher.arguments))
    return LocalLauncher(options.lease_s)
