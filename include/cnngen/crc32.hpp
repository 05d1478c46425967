// zlib's CRC-32, several times faster than byte by byte: a checksum of the weights must not cost more than reading
// them.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace cnngen {

namespace crc32_detail {

inline constexpr std::uint32_t polynomial = 0xedb88320u;  // bits reversed: the highest is x^0

// Table k gives the effect of a byte that k bytes follow (slice by 8): eight look-ups take eight bytes at once.
constexpr std::array<std::array<std::uint32_t, 256>, 8> make_tables() {
    std::array<std::array<std::uint32_t, 256>, 8> tables{};
    for (std::uint32_t i = 0; i < 256; ++i) {
        std::uint32_t value = i;
        for (int bit = 0; bit < 8; ++bit) value = (value >> 1) ^ (value & 1 ? polynomial : 0);
        tables[0][i] = value;
    }
    for (std::size_t k = 1; k < 8; ++k) {
        for (std::size_t i = 0; i < 256; ++i) {
            const std::uint32_t before = tables[k - 1][i];
            tables[k][i] = (before >> 8) ^ tables[0][before & 0xff];
        }
    }
    return tables;
}

inline constexpr auto tables = make_tables();

// crc after eight more bytes.
inline std::uint32_t advance(std::uint32_t crc, const std::byte* bytes) {
    const auto& t = tables;
    std::uint32_t low, high;
    std::memcpy(&low, bytes, 4);
    std::memcpy(&high, bytes + 4, 4);
    low ^= crc;
    return t[7][low & 0xff] ^ t[6][(low >> 8) & 0xff] ^ t[5][(low >> 16) & 0xff] ^ t[4][low >> 24] ^ t[3][high & 0xff] ^
           t[2][(high >> 8) & 0xff] ^ t[1][(high >> 16) & 0xff] ^ t[0][high >> 24];
}

// a b modulo the polynomial.
constexpr std::uint32_t multiply(std::uint32_t a, std::uint32_t b) {
    std::uint32_t product = 0;
    for (std::uint32_t bit = 1u << 31; bit; bit >>= 1) {
        if (a & bit) product ^= b;
        b = (b >> 1) ^ (b & 1 ? polynomial : 0);
    }
    return product;
}

// crc as it would be with `bytes` zero bytes behind: times x^(8 bytes).
constexpr std::uint32_t shift(std::uint32_t crc, std::size_t bytes) {
    for (std::uint32_t factor = 1u << 23; bytes; bytes >>= 1, factor = multiply(factor, factor)) {
        if (bytes & 1) crc = multiply(crc, factor);
    }
    return crc;
}

}  // namespace crc32_detail

// The checksum of two pieces, of which the second has so many bytes, by those of each.
constexpr std::uint32_t crc32_joined(std::uint32_t first, std::uint32_t second, std::size_t second_bytes) {
    return crc32_detail::shift(first, second_bytes) ^ second;
}

// The checksum of `data`, continued from `crc`, that of what stands before it.
inline std::uint32_t crc32(std::span<const std::byte> data, std::uint32_t crc = 0) {
    // Four quarters side by side, since each look-up waits for the one before; then they are joined.
    constexpr std::size_t lanes = 4;
    const std::size_t quarter = data.size() / lanes / 8 * 8;
    std::array<std::uint32_t, lanes> lane;
    lane.fill(~0u);
    for (std::size_t i = 0; i < quarter; i += 8) {
        for (std::size_t k = 0; k < lanes; ++k) {
            lane[k] = crc32_detail::advance(lane[k], data.data() + k * quarter + i);
        }
    }
    for (std::size_t k = 0; k < lanes; ++k) crc = crc32_joined(crc, ~lane[k], quarter);
    crc = ~crc;
    for (std::byte byte : data.subspan(lanes * quarter)) {
        crc = (crc >> 8) ^ crc32_detail::tables[0][(crc ^ static_cast<std::uint32_t>(byte)) & 0xff];
    }
    return ~crc;
}

}  // namespace cnngen
