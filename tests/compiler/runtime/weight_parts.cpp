// Reads a weight file of argv[2] bytes from its end to its beginning in parts, by several threads at a time; but for
// the part argv[3].
#include "cnngen/parallel.hpp"
#include "cnngen/weights.hpp"

int main(int, char** argv) {
    const auto bytes = static_cast<std::size_t>(std::atol(argv[2]));
    const std::size_t part = 1000, parts = (bytes + part - 1) / part, left_out = std::atol(argv[3]);
    std::vector<std::byte> all(bytes);
    try {
        cnngen::WeightFile file(argv[1], {bytes, "00000000000000aa"});
        cnngen::in_parallel(
            parts, 4, [] { return 0; },
            [&](int, std::size_t i) {
                const std::size_t number = parts - 1 - i, at = number * part;
                if (number != left_out) file.read(at, std::span(all).subspan(at, std::min(part, bytes - at)));
            });
        file.finish();
        std::printf("%08x\n", cnngen::crc32(all));
    } catch (const cnngen::Error& e) {
        std::printf("%s\n", e.what());
    }
}
