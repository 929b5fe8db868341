"""What a run says on the terminal, as a Snakemake logger plugin: `logger: layerlottery` in a profile asks for it.

Snakemake imports this in every process, those of cluster jobs too, so nothing heavy is imported before it is needed.
Inside jobs Snakemake starts no plugin: what it prints there goes into the cluster's log.
"""

from dataclasses import dataclass, field
from logging import LogRecord
from typing import TYPE_CHECKING, Any

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.settings import LogHandlerSettingsBase

if TYPE_CHECKING:
    from snakemake_logger_plugin_layerlottery.reporter import Reporter

STYLES = ("auto", "live", "lines", "snakemake")
HELP = (
    "What a run prints: live, a display that moves; lines, for logs; snakemake, Snakemake's own output, every job with"
    " its files; auto, live on a terminal and lines elsewhere, in CI and with a cluster."
)


@dataclass
class LogHandlerSettings(LogHandlerSettingsBase):
    """The plugin's flags: `style` is --logger-layerlottery-style. Snakemake wants types, not their names, here."""

    style: str = field(
        default="auto", metadata={"help": HELP, "choices": list(STYLES), "env_var": True, "metavar": "|".join(STYLES)}
    )


class LogHandler(LogHandlerBase):
    """Hands Snakemake's records to a Reporter, or to Snakemake's own handler where its output is asked for."""

    reporter: "Reporter | None" = None

    def __post_init__(self) -> None:
        chosen = self.common_settings
        wanted = self.settings.style if isinstance(self.settings, LogHandlerSettings) else "auto"
        # flags that ask for what only Snakemake prints
        detailed = chosen.verbose or chosen.printshellcmds or chosen.debug_dag
        self.style = "snakemake" if detailed and wanted == "auto" else wanted
        if self.style == "snakemake":
            from snakemake_logger_plugin_layerlottery.plain import snakemake_handler

            self.own = snakemake_handler(chosen)
        else:
            from snakemake_logger_plugin_layerlottery.reporter import Reporter

            self.reporter = Reporter(self.style, chosen, lock=self.lock)

    def emit(self, record: LogRecord) -> None:
        """Report one record; a mistake here is said and never ends a run."""
        try:
            if self.reporter is not None:
                self.reporter.report(record)
            elif self.own.filter(record):
                self.own.emit(record)
        except Exception:  # a handler of logging raises nothing: what it says goes through handleError
            self.handleError(record)

    def begin(self, workflow: Any, benchmark: Any) -> None:
        """Called when the configuration has been read; `benchmark` is a layerlottery Benchmark."""
        if self.reporter is not None:
            self.reporter.begin(workflow, benchmark)

    def start(self) -> None:
        """Called before the first job: from here on what jobs print is shown line by line."""
        if self.reporter is not None:
            self.reporter.start()

    def close(self) -> None:
        """End the display with its last line; standard output and error are as before."""
        if self.reporter is not None:
            self.reporter.close()
            self.reporter = None
        super().close()

    @property
    def writes_to_stream(self) -> bool:
        """Snakemake's own handler is not needed beside this one."""
        return True

    @property
    def writes_to_file(self) -> bool:
        """Snakemake writes .snakemake/log itself."""
        return False

    @property
    def has_filter(self) -> bool:
        """What is shown is decided here."""
        return True

    @property
    def has_formatter(self) -> bool:
        """How it is shown too."""
        return True

    @property
    def needs_rulegraph(self) -> bool:
        """Counts of jobs are enough."""
        return False
