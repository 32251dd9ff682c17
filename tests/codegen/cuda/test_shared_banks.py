"""Addresses in shared memory that lanes of a warp take at once lie in different banks."""

from __future__ import annotations

import subprocess

import pytest

from espalier.codegen.cuda.kernel_objects import TEMPLATES

PROGRAM = r"""
#include <cstdio>
#include <map>
#include <set>
#include "conv2d.cuh"
#include "dense_codebook.cuh"
using namespace espalier;

// The most words that lanes which are served at once want of one of the 32 banks of 4 bytes. Those are a quarter of a
// warp for 16 bytes each, half of one for 8.
template <typename Address>
int conflicts(int size, Address address) {
  int most = 0, together = 128 / size;
  for (int first = 0; first < 32; first += together) {
    std::map<int, std::set<int>> words;
    for (int lane = first; lane < first + together; ++lane)
      for (int word = address(lane) / 4; word < (address(lane) + size) / 4; ++word) words[word % 32].insert(word);
    for (auto& [bank, wanted] : words) most = std::max(most, int(wanted.size()));
  }
  return most;
}

template <typename T>
int of_sums() {
  return conflicts(8, [](int lane) { return 4 * (lane / 4 * T::SUM_STRIDE + lane % 4 * 2); });
}

int main() {
  int codes = 0, tiles = 0;
  for (int byte : {0, CODES / 2})
    codes = std::max(codes, conflicts(16, [&](int lane) { return place_of_byte(lane * CODES + byte, 40); }));
  for (int chunk = 0; chunk < DEPTH_CHUNKS; ++chunk)
    tiles = std::max(tiles, conflicts(16, [&](int lane) { return place(lane, chunk); }));
  std::printf("%d %d %d %d\n", codes, tiles, of_sums<Tile<128, 128, 2, 4, 3>>(), of_sums<Tile<64, 32, 2, 2, 4>>());
}
"""


@pytest.fixture(scope="module")
def counted(tmp_path_factory) -> list[int]:
    """Bytes of a codebook's input, rows of a tile, and pairs of sums of two tiles."""
    folder = tmp_path_factory.mktemp("banks")
    (folder / "banks.cc").write_text(PROGRAM)
    options = ["-std=c++17", "-O1", "-I", TEMPLATES, folder / "banks.cc", "-o", folder / "banks"]
    subprocess.run(["g++", *options], check=True)
    done = subprocess.run([folder / "banks"], capture_output=True, text=True, check=True)
    return [int(one) for one in done.stdout.split()]


def test_no_two_lanes_want_the_same_bank(counted):
    assert counted == [1, 1, 1, 1]
