"""Run rows of the campaign and print their table; exit code 1 when a try failed."""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import sys
from pathlib import Path

from .rows import Row, as_table

ROWS = sorted(
    module.name
    for module in pkgutil.iter_modules([str(Path(__file__).parent)])
    if module.name not in ("__main__", "rows") and not module.name.startswith(("test_", "_"))
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m Testing.Campaign", description=__doc__)
    parser.add_argument("row", nargs="*", metavar="ROW", help=f"any of {', '.join(ROWS)} (default: all)")
    parser.add_argument("--seed", type=int, default=0, help="of all that is random (default: 0)")
    parser.add_argument("--count", type=int, help="tries of each kind (default: the full number of each row)")
    arguments = parser.parse_args()
    if unknown := set(arguments.row) - set(ROWS):
        parser.error(f"no row is called {', '.join(sorted(unknown))}; there are {', '.join(ROWS)}")
    rows: list[Row] = []
    for name in arguments.row or ROWS:
        module = importlib.import_module(f".{name}", __package__)
        rows += module.run(arguments.seed, arguments.count or module.COUNT)
    sys.stdout.write(as_table(rows) + "\n")
    sys.stderr.writelines(f"{row.what}: {row.first}\n" for row in rows if row.failed)
    return int(any(row.failed for row in rows))


if __name__ == "__main__":
    sys.exit(main())
