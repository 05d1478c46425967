// Checksums of 0 to 299 bytes, at once and in two parts.
#include <cstdio>
#include <vector>

#include "cnngen/crc32.hpp"

int main() {
    std::vector<std::byte> bytes;
    for (int n = 0; n < 300; ++n) {
        const std::span<const std::byte> all(bytes);
        const std::size_t third = all.size() / 3;
        const auto parts = cnngen::crc32(all.subspan(third), cnngen::crc32(all.first(third)));
        std::printf("%08x %08x\n", cnngen::crc32(all), parts);
        bytes.push_back(std::byte(n * 37 + n / 7));
    }
}
