"""Quality of care: measures, charts over time, comparison of units."""

from neva.quality.cases import Decision, decisions
from neva.quality.charts.control_charts import count_chart, g_chart, measure_chart, t_chart
from neva.quality.charts.run_charts import RunChart, run_chart
from neva.quality.charts.spc import ControlChart, xmr
from neva.quality.comparison.funnel import Funnel, funnel_proportions, funnel_ratios
from neva.quality.comparison.risk_adjustment import ExpectedModel, observed_expected, recalibrate
from neva.quality.comparison.sequential import risk_adjusted_cusum, vlad
from neva.quality.fhir.codelists import codelist_to_fhir
from neva.quality.fhir.measure import measure_to_fhir
from neva.quality.fhir.measure_reading import measure_from_fhir
from neva.quality.fhir.report import (
    ReportedMeasure,
    individual_reports,
    report_from_fhir,
    subject_list_report,
    summary_report,
    write_reports,
)
from neva.quality.figures import Figures, exclusion_counts, figures, suppressed
from neva.quality.measuring import MeasureRun, run_measures

__all__ = [
    "ControlChart",
    "Decision",
    "ExpectedModel",
    "Figures",
    "Funnel",
    "MeasureRun",
    "ReportedMeasure",
    "RunChart",
    "codelist_to_fhir",
    "count_chart",
    "decisions",
    "exclusion_counts",
    "figures",
    "funnel_proportions",
    "funnel_ratios",
    "g_chart",
    "individual_reports",
    "measure_chart",
    "measure_from_fhir",
    "measure_to_fhir",
    "observed_expected",
    "recalibrate",
    "report_from_fhir",
    "risk_adjusted_cusum",
    "run_chart",
    "run_measures",
    "subject_list_report",
    "summary_report",
    "suppressed",
    "t_chart",
    "vlad",
    "write_reports",
    "xmr",
]
