// The packed weight file: a safetensors file whose payload is the weight slab, byte for byte.
#pragma once

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "cnngen/crc32.hpp"
#include "cnngen/error.hpp"

namespace cnngen {

// What the program expects of its weight file.
struct WeightLayout {
    std::size_t bytes = 0;
    std::string_view fingerprint;  // of the tensors' names, offsets and shapes
};

// Reads the payload, checking size, layout and checksum on the way.
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

    // The next bytes of the payload.
    void read(std::span<std::byte> into) {
        constexpr std::size_t chunk = 1 << 20;  // checksummed while it is in the cache
        for (std::size_t at = 0; at < into.size(); at += chunk) {
            const std::span<std::byte> part = into.subspan(at, std::min(chunk, into.size() - at));
            if (std::fread(part.data(), 1, part.size(), file_.get()) != part.size()) fail("cannot be read to its end");
            crc_ = crc32(part, crc_);
        }
    }

    // Once all is read: throws where the checksum does not fit.
    void finish() const {
        char got[9];
        std::snprintf(got, sizeof got, "%08x", crc_);
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
    std::uint32_t crc_ = 0;
};

}  // namespace cnngen
