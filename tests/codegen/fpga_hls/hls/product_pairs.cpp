// All pairs of weights times all inputs, through product_pair.
#include <cstdio>

#include "multiply.h"

int main() {
    long pairs = 0, wrong = 0;
    for (int x = 0; x < 256; ++x) {
        for (int low = -128; low < 128; ++low) {
            for (int high = -128; high < 128; ++high) {
                const espalier::product_pair found = espalier::product_pair::of(x, int8_t(low ^ 0x80), high);
                wrong += found.low - 128 * x != x * low || found.high != x * high;
                ++pairs;
            }
        }
    }
    std::printf("%ld pairs, %ld differ\n", pairs, wrong);
}
