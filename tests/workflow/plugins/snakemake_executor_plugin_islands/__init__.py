"""A Snakemake executor that stands in for Kubernetes: each job starts in an empty folder and shares nothing.

Its common settings are those of snakemake-executor-plugin-kubernetes, but for the installation of the storage plugin;
the command is run as there, by `sh -c`. What a job is to read has to come from the storage.
"""

import os
import signal
import subprocess
import tempfile
from pathlib import Path

from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor
from snakemake_interface_executor_plugins.settings import CommonSettings

common_settings = CommonSettings(
    non_local_exec=True,
    implies_no_shared_fs=True,
    job_deploy_sources=True,
    pass_default_storage_provider_args=True,
    pass_default_resources_args=True,
    pass_envvar_declarations_to_cmd=False,
    auto_deploy_default_storage_provider=False,
    init_seconds_before_status_checks=0,
)
# folder for the islands; what is mounted in each of them as results/checkpoints, if anything
PLACE, VOLUME = "ISLANDS", "ISLANDS_VOLUME"


class Executor(RemoteExecutor):
    def run_job(self, job):
        island = Path(tempfile.mkdtemp(prefix=f"{job.name}-", dir=os.environ[PLACE]))
        if VOLUME in os.environ:
            (island / "results").mkdir()
            (island / "results/checkpoints").symlink_to(os.environ[VOLUME])
        with (island / "printed.txt").open("w") as printed:
            process = subprocess.Popen(
                ["/bin/sh", "-c", self.format_job_exec(job)],
                cwd=island,
                stdout=printed,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        (island / "process.txt").write_text(str(process.pid))
        self.report_job_submission(SubmittedJobInfo(job, external_jobid=str(process.pid), aux={"process": process}))

    async def check_active_jobs(self, active_jobs):
        self.next_seconds_between_status_checks = 0.2
        for submitted in active_jobs:
            status = submitted.aux["process"].poll()
            if status is None:
                yield submitted
            elif status == 0:
                self.report_job_success(submitted)
            else:
                self.report_job_error(submitted, msg=f"island left with status {status}")

    def cancel_jobs(self, active_jobs):
        for submitted in active_jobs:
            os.killpg(submitted.aux["process"].pid, signal.SIGKILL)
