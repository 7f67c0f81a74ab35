"""The kinds of background tasks, by name: their inputs and results."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from neva.jobs.context import WorkContext

__all__ = ["KINDS"]


def _asked_time(parameters: Mapping[str, Any]) -> datetime:
    return datetime.fromisoformat(str(parameters["at"]))


def _measures(context: WorkContext, parameters: Mapping[str, Any]) -> dict[str, Any]:
    from neva.jobs.quality import measures_of_programme

    content, cases = measures_of_programme(
        context.hospital,
        context.hospital.snapshot(),
        str(parameters["programme"]),
        progress=context.progress,
    )
    cases.write_parquet(context.attachment("cases.parquet"))
    return content


def _forecast(context: WorkContext, parameters: Mapping[str, Any]) -> dict[str, Any]:
    from neva.files.whole import write_whole
    from neva.flow.forecast.moves_ahead import hospital_moves_ahead
    from neva.jobs.flow import forecast, save_forecast
    from neva.jobs.judged import judged_forecasts
    from neva.jobs.results import Results

    at = _asked_time(parameters)
    content, made = forecast(context.hospital, at, progress=context.progress)
    kept = Results(context.settings, context.state, context.hospital).contents("forecast")
    content["judged"] = judged_forecasts(context.hospital, kept, at)
    save_forecast(made, context.attachment("forecast.json"))
    moves = hospital_moves_ahead(context.hospital, at)
    write_whole(context.attachment("moves.json"), json.dumps(moves.to_document()), private=True)
    return content


def _evaluation(context: WorkContext, parameters: Mapping[str, Any]) -> dict[str, Any]:
    from neva.jobs.flow import evaluation

    return evaluation(context.hospital, _asked_time(parameters), progress=context.progress)


def _what_if(context: WorkContext, parameters: Mapping[str, Any]) -> dict[str, Any]:
    from neva.jobs.flow import what_if

    return what_if(
        context.hospital,
        _asked_time(parameters),
        [str(one) for one in parameters["scenarios"]],
        days=int(parameters["days"]),
        replications=int(parameters["replications"]),
        progress=context.progress,
    )


def _work_list(context: WorkContext, parameters: Mapping[str, Any]) -> dict[str, Any]:
    from neva.jobs.work import work

    return work(
        context.hospital,
        context.state,
        _asked_time(parameters),
        context.settings.programmes,
        progress=context.progress,
    )


def _replay(context: WorkContext, _: Mapping[str, Any]) -> dict[str, Any]:
    from neva.jobs.replays import replay_of_rules

    return replay_of_rules(context.hospital, context.settings.programmes, progress=context.progress)


def _board_report(context: WorkContext, parameters: Mapping[str, Any]) -> dict[str, Any]:
    from neva.jobs.papers import board_report

    return board_report(
        context.hospital,
        context.settings.programmes,
        str(parameters["language"]),
        context.settings.now(),
        progress=context.progress,
    )


def _flush(context: WorkContext, _: Mapping[str, Any]) -> dict[str, Any]:
    from neva.jobs.entered import flush

    return flush(context.hospital, context.state)


def _activity_log(context: WorkContext, parameters: Mapping[str, Any]) -> dict[str, Any]:
    from neva.jobs.store import activity_log_of

    return activity_log_of(context.hospital, str(parameters["kind"]))


def _checks(context: WorkContext, _: Mapping[str, Any]) -> dict[str, Any]:
    from neva.jobs.store import checks_of

    return checks_of(context.hospital)


def _import(context: WorkContext, parameters: Mapping[str, Any]) -> dict[str, Any]:
    from neva.jobs.uploads import import_upload

    return import_upload(
        context.hospital,
        context.state,
        context.settings,
        str(parameters["upload"]),
        on_change=parameters["on_change"],
        actor=context.job.actor,
        progress=context.progress,
    )


KINDS: Final[dict[str, Callable[[WorkContext, Mapping[str, Any]], dict[str, Any]]]] = {
    "activity-log": _activity_log,
    "checks": _checks,
    "measures": _measures,
    "forecast": _forecast,
    "evaluation": _evaluation,
    "what-if": _what_if,
    "work-list": _work_list,
    "replay": _replay,
    "board-report": _board_report,
    "flush": _flush,
    "import": _import,
}
