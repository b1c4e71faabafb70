"""The reference pages, made from code: commands, pipeline parameters, metrics."""

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any

import typer

from cli.main import app
from statemachine.contracts.gate import GatePolicy
from statemachine.contracts.metrics import CATALOGUE, Emitter
from statemachine.contracts.shadow import ShadowPolicy
from statemachine.core.policy import ApprovalPolicy, IntakePolicy, Policy, Serving, StagePolicy
from statemachine.reporting.prices import Prices
from training.data.declaration import Amount, Category, Declaration, Entity, Flags, Label, Number, Time, TimeParts
from training.data.preprocess import PreprocessConfig
from training.evaluation.evaluate import EvaluateConfig
from training.model.config import TrainConfig
from training.pipelines.settings import StepSettings

TABLES: tuple[tuple[str, type], ...] = (
    ("models.NAME.policy", Policy),
    ("models.NAME.intake", IntakePolicy),
    ("models.NAME.gate", GatePolicy),
    ("models.NAME.shadow", ShadowPolicy),
    ("models.NAME.approval", ApprovalPolicy),
    ("models.NAME.serving", Serving),
    ("models.NAME.stages.STAGE", StagePolicy),
    ("models.NAME.data", Declaration),
    ("models.NAME.data.time", Time),
    ("models.NAME.data.time.parts", TimeParts),
    ("models.NAME.data.amount", Amount),
    ("models.NAME.data.entities.NAME", Entity),
    ("models.NAME.data.categories.NAME", Category),
    ("models.NAME.data.numbers.NAME", Number),
    ("models.NAME.data.flags.NAME", Flags),
    ("models.NAME.data.label", Label),
    ("models.NAME.parameters.preprocess", PreprocessConfig),
    ("models.NAME.parameters.train", TrainConfig),
    ("models.NAME.parameters.evaluate", EvaluateConfig),
    ("prices", Prices),
)


def pages() -> dict[str, str]:
    """Path in the site → Markdown."""
    return {
        "reference/cli.md": commands_page(),
        "reference/parameters.md": parameters_page(),
        "reference/metrics.md": metrics_page(),
    }


# -- commands -------------------------------------------------------------------------------------------------------


def whole() -> Any:
    """Every command, as one click group."""
    return typer.main.get_command(app)


def commands_page() -> str:
    """Each command with its arguments and options."""
    lines = ["# Commands", "", "`--json` prints data for programs, wherever a command prints data.", ""]
    for name, command in sorted(whole().commands.items()):
        lines += _command(f"fraudloop {name}", command)
    return "\n".join(lines) + "\n"


def _command(name: str, command: Any) -> Iterator[str]:
    yield f"## {name}" if name.count(" ") == 1 else f"### {name}"
    yield ""
    yield _unindented(command.help or "")
    yield ""
    for inner, each in sorted(getattr(command, "commands", {}).items()):
        yield from _command(f"{name} {inner}", each)
    parameters = [each for each in command.params if each.name != "help"]
    if parameters:
        yield "| argument or option | default | |"
        yield "|---|---|---|"
        yield from map(_parameter, parameters)
        yield ""


def _parameter(parameter: Any) -> str:
    shown = parameter.name.upper() if parameter.param_type_name == "argument" else parameter.opts[-1]
    default = "" if parameter.default in (None, "", False) or callable(parameter.default) else f"`{parameter.default}`"
    required = "required" if parameter.required else default
    return f"| `{shown}` | {required} | {_cell(getattr(parameter, 'help', '') or '')} |"


def _unindented(text: str) -> str:
    return "\n".join(line.strip() for line in text.split("\n")).replace("\f", "")


# -- parameters -----------------------------------------------------------------------------------------------------


def parameters_page() -> str:
    """Each table of fraudloop.toml and pipelines.toml, from the classes that read them."""
    lines = ["# Parameters", "", "What `fraudloop.toml` may say, from the classes that read it.", ""]
    for table, kind in TABLES:
        lines += [f"## `[{table}]`", "", _intro(kind), "", *_table(kind), ""]
    lines += [
        "## `pipelines.toml`",
        "",
        "`[default]` and one `[steps.NAME]` table a step.",
        "",
        _intro(StepSettings),
        "",
    ]
    return "\n".join([*lines, *_table(StepSettings)]) + "\n"


def _intro(kind: type) -> str:
    return _unindented((kind.__doc__ or "").strip())


def _table(kind: type) -> Iterator[str]:
    yield "| setting | type | default |"
    yield "|---|---|---|"
    for field in fields(kind):
        yield f"| `{field.name}` | {_cell(_type(field.type))} | {_default(field)} |"


def _type(kind: Any) -> str:
    return kind if isinstance(kind, str) else getattr(kind, "__name__", str(kind))


def _default(field: Any) -> str:
    if field.default is MISSING:
        made = field.default_factory() if field.default_factory is not MISSING else None
        if made is None:
            return "required"
        return "" if is_dataclass(made) else f"`{_cell(_short(made))}`"
    return "" if is_dataclass(field.default) else f"`{_cell(str(field.default))}`"


def _short(value: Any) -> str:
    return ", ".join(value) if isinstance(value, Mapping) and value else str(value)


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


# -- metrics --------------------------------------------------------------------------------------------------------


def metrics_page() -> str:
    """The catalogue, by who emits."""
    lines = ["# Metrics", "", "Alerts and dashboards use these and no others; a test reads every expression.", ""]
    for emitter in Emitter:
        lines += [f"## {emitter.value}", "", "| name | type | unit | labels | |", "|---|---|---|---|---|"]
        lines += [
            f"| `{line.name}` | {line.kind.value} | {line.unit} | {', '.join(line.labels)} | {line.help} |"
            for line in CATALOGUE
            if line.emitter is emitter
        ]
        lines.append("")
    return "\n".join(lines) + "\n"
