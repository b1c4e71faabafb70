"""The controller: a pure core (`core`), ports, adapters, and the reconciler that joins them."""
