// Feeds images to the accelerator and compares what comes out.
//
//     testbench INPUT EXPECTED [OUTPUT]
//
// The files hold images one after the other: INPUT the numbers of the accelerator's input, EXPECTED and OUTPUT those of
// its output, each [height][width][channels], uint8 or little-endian int32. The status is 0 if all are equal, 1 if not,
// 2 for a file that does not fit, 3 for a deadlock.
#include "accelerator.h"

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <vector>

using namespace accelerator;

template <class T>
static std::vector<T> read_file(const char* path) {
    std::ifstream file(path, std::ios::binary);
    const std::vector<char> bytes((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    std::vector<T> values(bytes.size() / sizeof(T));
    std::copy(bytes.begin(), bytes.begin() + values.size() * sizeof(T), reinterpret_cast<char*>(values.data()));
    return values;
}

int main(int count, char** arguments) {
    if (count < 3) {
        std::fprintf(stderr, "testbench: accepted are INPUT EXPECTED [OUTPUT]\n");
        return 2;
    }
    const std::vector<uint8_t> input = read_file<uint8_t>(arguments[1]);
    const std::vector<out_number> expected = read_file<out_number>(arguments[2]);
    const std::size_t in_size = std::size_t(IN_BEATS) * IN_LANES, out_size = std::size_t(OUT_BEATS) * OUT_LANES;
    const std::size_t images = input.size() / in_size;
    if (images == 0 || input.size() != images * in_size || expected.size() != images * out_size) {
        std::fprintf(
            stderr, "testbench: got %zu and %zu numbers, accepted are images of %zu and %zu\n", input.size(),
            expected.size(), in_size, out_size
        );
        return 2;
    }
    std::vector<out_number> output;
    std::size_t wrong = 0;
    for (std::size_t image = 0; image < images; ++image) {
        hls::stream<in_word> in("the input");
        hls::stream<out_word> out("the output");
        for (int number = 0; number < IN_BEATS; ++number) {
            espalier::beat<uint8_t, IN_LANES> value;
            for (int lane = 0; lane < IN_LANES; ++lane) {
                value.lane[lane] = input[image * in_size + std::size_t(number) * IN_LANES + lane];
            }
            in.write(espalier::axis<uint8_t, IN_LANES>::packed(value, number == IN_BEATS - 1));
        }
        run_accelerator(in, out);
        for (int number = 0; number < OUT_BEATS; ++number) {
            const out_word word = out.read();
            const espalier::beat<out_number, OUT_LANES> value = espalier::axis<out_number, OUT_LANES>::unpacked(word);
            wrong += bool(word.last) != (number == OUT_BEATS - 1);
            for (int lane = 0; lane < OUT_LANES; ++lane) {
                wrong += value.lane[lane] != expected[output.size()];
                output.push_back(value.lane[lane]);
            }
        }
        wrong += !in.empty() + !out.empty();
    }
    if (count > 3) {
        std::ofstream(arguments[3], std::ios::binary)
            .write(reinterpret_cast<const char*>(output.data()), output.size() * sizeof(out_number));
    }
    std::printf("%zu images, %zu numbers differ\n", images, wrong);
    return wrong ? 1 : 0;
}
