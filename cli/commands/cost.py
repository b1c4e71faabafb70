"""`cost`: what a run cost, line by line, beside SageMaker's figure for the same seconds."""

from pathlib import Path
from typing import Annotated

import typer

from cli.commands import cost_queries
from cli.commands.monthly_cost import runs, standing
from cli.connection import application, known
from cli.output import Json, colored, console, emit, table
from statemachine.reporting.cost import Cost, as_dict
from statemachine.reporting.prices import Prices

Table = Annotated[Path | None, typer.Option("--prices", help="A TOML file with a [prices] table.")]


def cost(
    run: Annotated[str, typer.Argument(help="A run; without one, the latest runs of the model.")] = "",
    model: Annotated[str, typer.Option(help="A model of fraudloop.toml.")] = "fraud",
    limit: Annotated[int, typer.Option(help="So many of the latest runs.")] = 10,
    month: Annotated[
        bool, typer.Option("--month", help="A month: what stands anyway, and thirty nights like the latest runs.")
    ] = False,
    prices: Table = None,
    as_json: Json = False,
) -> None:
    """Dollars of a run: marginal (what it added), loaded (with its share of what stands anyway), and on SageMaker.

    Example: `fraudloop cost fraud-7`
    """
    app, list_prices = application(), cost_queries.prices(prices)
    if run:
        found = app.store.run(run)
        selected = [(found, tuple(app.store.history(run)))]
    else:
        selected = list(cost_queries.ended(app, known(app, model)))[:limit]
    sharing = max(len(list(cost_queries.ended(app, selected[0][0].model))), 1) if selected else 1
    bills = {one.id: cost_queries.bill(app, one, history, list_prices, sharing) for one, history in selected}
    if month:
        return _month(list(bills.values()), list_prices, as_json)
    if as_json:
        return emit({name: as_dict(each) for name, each in bills.items()})
    if run:
        return _lines(run, bills[run], list_prices.as_of)
    rows = [[one.id, colored(one.state), *_totals(bills[one.id])] for one, _ in selected]
    console.print(table(f"{model}: dollars a run", ["run", "state", ">marginal", ">loaded", ">SageMaker"], rows))
    return None


def _month(bills: list[Cost], list_prices: Prices, as_json: bool) -> None:
    lines = [*standing(list_prices), *([runs(bills)] if bills else [])]
    total = sum(line.dollars for line in lines)
    if as_json:
        return emit({"total": total, "lines": [vars(line) for line in lines]})
    rows = [[line.item, f"{line.quantity:,.0f}", line.unit, f"{line.dollars:,.2f}"] for line in lines]
    title = f"a month: ${total:,.2f} (prices as of {list_prices.as_of}, {list_prices.region})"
    console.print(table(title, ["item", ">quantity", "unit", ">dollars"], rows))
    console.print(
        "without alarms, NAT gateways and the data's own storage" + ("" if bills else "; no run has ended yet")
    )
    return None


def _lines(run: str, each: Cost, as_of: str) -> None:
    rows = [[line.item, f"{line.quantity:,.1f}", line.unit, f"{line.dollars:.6f}"] for line in each.lines]
    console.print(table(f"{run} (prices as of {as_of})", ["item", ">quantity", "unit", ">dollars"], rows))
    marginal, loaded, sagemaker = _totals(each)
    console.print(f"marginal {marginal}, loaded {loaded}, the same stages on SageMaker {sagemaker}")


def _totals(each: Cost) -> list[str]:
    return [f"${each.marginal:.4f}", f"${each.loaded:.4f}", "–" if each.sagemaker is None else f"${each.sagemaker:.4f}"]


def register(app: typer.Typer) -> None:
    """Add this command."""
    app.command(rich_help_panel="Production")(cost)
