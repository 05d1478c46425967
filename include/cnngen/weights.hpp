// The packed weight file: a safetensors file whose payload is the weight slab, byte for byte.
#pragma once

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "cnngen/error.hpp"

namespace cnngen {

namespace crc32_detail {

// Table k gives the effect of a byte that k bytes follow (slice by 8): eight look-ups take eight bytes at once.
constexpr std::array<std::array<std::uint32_t, 256>, 8> make_tables() {
    std::array<std::array<std::uint32_t, 256>, 8> tables{};
    for (std::uint32_t i = 0; i < 256; ++i) {
        std::uint32_t value = i;
        for (int bit = 0; bit < 8; ++bit) value = (value >> 1) ^ (value & 1 ? 0xedb88320u : 0);
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

}  // namespace crc32_detail

// zlib's CRC-32, continued from `crc`.
inline std::uint32_t crc32(std::span<const std::byte> data, std::uint32_t crc = 0) {
    const auto& t = crc32_detail::tables;
    crc = ~crc;
    std::size_t i = 0;
    for (; i + 8 <= data.size(); i += 8) {
        std::uint32_t low, high;
        std::memcpy(&low, data.data() + i, 4);
        std::memcpy(&high, data.data() + i + 4, 4);
        low ^= crc;
        crc = t[7][low & 0xff] ^ t[6][(low >> 8) & 0xff] ^ t[5][(low >> 16) & 0xff] ^ t[4][low >> 24] ^
              t[3][high & 0xff] ^ t[2][(high >> 8) & 0xff] ^ t[1][(high >> 16) & 0xff] ^ t[0][high >> 24];
    }
    for (; i < data.size(); ++i) crc = (crc >> 8) ^ t[0][(crc ^ static_cast<std::uint32_t>(data[i])) & 0xff];
    return ~crc;
}

// What the program expects of its weight file.
struct WeightLayout {
    std::size_t bytes = 0;
    std::string_view fingerprint;  // of the tensors' names, offsets and shapes
};

// Reads the payload to `into` (layout.bytes), checking size, layout and checksum on the way.
class WeightFile {
   public:
    // Opens and checks everything but the checksum.
    WeightFile(std::string path, const WeightLayout& layout) : path_(std::move(path)), layout_(layout) {
        file_.reset(std::fopen(path_.c_str(), "rb"));
        if (!file_) throw Error(text("weight file '", path_, "': ", std::strerror(errno)));
        std::fseek(file_.get(), 0, SEEK_END);
        const auto size = static_cast<std::size_t>(std::ftell(file_.get()));
        std::fseek(file_.get(), 0, SEEK_SET);

        std::uint64_t header_bytes = 0;
        if (std::fread(&header_bytes, 1, 8, file_.get()) != 8) fail("is shorter than its header: truncated?");
        if (header_bytes > (std::uint64_t{1} << 30) || header_bytes > size - 8) {
            fail("is truncated or no safetensors file: its header does not fit into it");
        }
        std::string header(header_bytes, '\0');
        if (std::fread(header.data(), 1, header.size(), file_.get()) != header.size()) fail("cannot be read");
        if (metadata(header, "format") != "cnngen") {
            fail("was not packed by cnngen for this network: build the project again with these weights");
        }
        const std::string fingerprint = metadata(header, "layout").value_or("none");
        if (fingerprint != layout_.fingerprint) {
            fail(text("belongs to another build of the network (layout ", fingerprint, ", expected ",
                      layout_.fingerprint, "): use the file that lies beside the module"));
        }
        if (size - 8 - header.size() != layout_.bytes) {
            fail(text("is truncated or altered: it holds ", size - 8 - header.size(), " bytes of weights, expected ",
                      layout_.bytes));
        }
        checksum_ = metadata(header, "crc32").value_or("none");
    }

    void read(std::span<std::byte> into) {
        constexpr std::size_t chunk = 1 << 20;  // checksummed while it is in the cache
        std::uint32_t crc = 0;
        for (std::size_t at = 0; at < into.size(); at += chunk) {
            const std::span<std::byte> part = into.subspan(at, std::min(chunk, into.size() - at));
            if (std::fread(part.data(), 1, part.size(), file_.get()) != part.size()) fail("cannot be read to its end");
            crc = crc32(part, crc);
        }
        char got[9];
        std::snprintf(got, sizeof got, "%08x", crc);
        if (checksum_ != got) fail(text("is altered: its checksum is ", got, ", expected ", checksum_));
    }

   private:
    struct Close {
        void operator()(std::FILE* file) const { std::fclose(file); }
    };

    [[noreturn]] void fail(std::string_view what) const { throw Error(text("weight file '", path_, "' ", what)); }

    // A string of the header's __metadata__, which is a flat map of strings without escapes.
    static std::optional<std::string> metadata(std::string_view header, std::string_view key) {
        const std::size_t begin = header.find("\"__metadata__\"");
        const std::size_t end = header.find('}', begin);
        if (begin == std::string_view::npos || end == std::string_view::npos) return std::nullopt;
        const std::string_view map = header.substr(begin, end - begin);
        const std::size_t name = map.find(text("\"", key, "\""));
        if (name == std::string_view::npos) return std::nullopt;
        const std::size_t open = map.find('"', map.find(':', name));
        if (open == std::string_view::npos) return std::nullopt;
        return std::string(map.substr(open + 1, map.find('"', open + 1) - open - 1));
    }

    std::string path_;
    WeightLayout layout_;
    std::unique_ptr<std::FILE, Close> file_;
    std::string checksum_;
};

}  // namespace cnngen
