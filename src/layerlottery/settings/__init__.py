"""The settings of every stage, one strict model each: the only source of defaults, units and limits.

The configuration file, the command line's options, the JSON schema and the hashes of results are all
derived from these models. Nothing here imports torch: the Snakefile parses it in every job.
"""

from layerlottery.settings.base import Count, Fraction, Name, NonNegative, Positive, Settings
from layerlottery.settings.data import (
    Dataset,
    Digits,
    ImageFolder,
    ImageSet,
    Located,
    OfficialCorruptions,
    OfficialSettings,
    OfficialShift,
    ParquetImages,
    TorchvisionImages,
)
from layerlottery.settings.evaluation import (
    EXTRA_CORRUPTIONS,
    MAIN_CORRUPTIONS,
    AttackName,
    AttackSettings,
    CompareSettings,
    CorruptionSettings,
    EvaluationSettings,
    ExtraCorruption,
    MainCorruption,
    Outliers,
    OutlierSettings,
    ShiftSettings,
)
from layerlottery.settings.networks import (
    CRITERIA,
    DATA_FREE,
    MINIMUM_PER_STAGE,
    CriterionSettings,
    Function,
    NetworkSettings,
    Structure,
    TrainingSettings,
)
from layerlottery.settings.results import (
    EnergySettings,
    MarginSettings,
    ProfileSettings,
    ReportSettings,
    StatisticsSettings,
)

__all__ = [
    "CRITERIA",
    "DATA_FREE",
    "EXTRA_CORRUPTIONS",
    "MAIN_CORRUPTIONS",
    "MINIMUM_PER_STAGE",
    "AttackName",
    "AttackSettings",
    "CompareSettings",
    "CorruptionSettings",
    "Count",
    "CriterionSettings",
    "Dataset",
    "Digits",
    "EnergySettings",
    "EvaluationSettings",
    "ExtraCorruption",
    "Fraction",
    "Function",
    "ImageFolder",
    "ImageSet",
    "Located",
    "MainCorruption",
    "MarginSettings",
    "Name",
    "NetworkSettings",
    "NonNegative",
    "OfficialCorruptions",
    "OfficialSettings",
    "OfficialShift",
    "OutlierSettings",
    "Outliers",
    "ParquetImages",
    "Positive",
    "ProfileSettings",
    "ReportSettings",
    "Settings",
    "ShiftSettings",
    "StatisticsSettings",
    "Structure",
    "TorchvisionImages",
    "TrainingSettings",
]
