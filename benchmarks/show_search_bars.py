"""Every bar of architecture search, by the records that there are: met, missed or not measured.

python benchmarks/show_search_bars.py
"""

from __future__ import annotations

import bench_nas_table
import bench_search
import bench_search_board
import bench_search_front
import bench_search_predictions
from rich.console import Console
from support.bars import Bar, of_record, shown

BENCHMARKS = (bench_search_front, bench_search_board, bench_search_predictions, bench_search, bench_nas_table)


def main() -> None:
    Console(width=120).print(shown(all_bars()))


def all_bars() -> list[Bar]:
    """Of each benchmark's record."""
    return [bar for one in BENCHMARKS for bar in of_record(one.RECORD, one.bars)]


if __name__ == "__main__":
    main()
