"""Rules, dashboards and routes, built from the catalogue in `statemachine.contracts.metrics`."""
