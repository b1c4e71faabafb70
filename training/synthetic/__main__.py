"""`python -m training.synthetic --rows N --seed S --out FILE.csv`: writes one file, or consecutive files of one
world.
"""

import argparse
from pathlib import Path

from training.synthetic import FRAUD_RATE, simulate, slices, write_csv


def main() -> None:
    """Write one file, or `--parts` files NAME-0.csv, NAME-1.csv, … in time order."""
    parser = argparse.ArgumentParser(prog="python -m training.synthetic", description=__doc__)
    parser.add_argument("--rows", type=int, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--fraud-rate", type=float, default=FRAUD_RATE)
    parser.add_argument("--parts", type=int, default=1)
    arguments = parser.parse_args()
    if arguments.parts == 1:
        write_csv(arguments.out, *simulate(arguments.rows, arguments.seed, fraud_rate=arguments.fraud_rate))
        return
    parts = slices(
        arguments.rows, arguments.seed, [1 / arguments.parts] * arguments.parts, fraud_rate=arguments.fraud_rate
    )
    for number, part in enumerate(parts):
        part.write_csv(arguments.out.with_name(f"{arguments.out.stem}-{number}{arguments.out.suffix}"))


if __name__ == "__main__":
    main()
