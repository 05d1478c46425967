// The packed weight file: a safetensors file whose payload is the weight slab, byte for byte.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <map>
#include <mutex>
#include <optional>
#include <span>

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
    WeightFile(std::string path, const WeightLayout& layout)
        : path_(std::move(path)), layout_(layout), file_{::open(path_.c_str(), O_RDONLY | O_CLOEXEC)} {
        if (file_.number < 0) throw Error(text("weight file '", path_, "': ", std::strerror(errno)));
        const auto size = static_cast<std::size_t>(::lseek(file_.number, 0, SEEK_END));

        std::uint64_t header_bytes = 0;
        if (!read_at(0, std::as_writable_bytes(std::span(&header_bytes, 1)))) {
            fail("is shorter than its header: truncated?");
        }
        if (header_bytes > (std::uint64_t{1} << 30) || header_bytes > size - 8) {
            fail("is truncated or no safetensors file: its header does not fit into it");
        }
        std::string header(header_bytes, '\0');
        if (!read_at(8, std::as_writable_bytes(std::span(header)))) fail("cannot be read");
        begin_ = 8 + header.size();
        if (metadata(header, "format") != "cnngen") {
            fail("was not packed by cnngen for this network: build the project again with these weights");
        }
        const std::string fingerprint = metadata(header, "layout").value_or("none");
        if (fingerprint != layout_.fingerprint) {
            fail(text("belongs to another build of the network (layout ", fingerprint, ", expected ",
                      layout_.fingerprint, "): use the file that lies beside the module"));
        }
        if (size - begin_ != layout_.bytes) {
            fail(text("is truncated or altered: it holds ", size - begin_, " bytes of weights, expected ",
                      layout_.bytes));
        }
        checksum_ = metadata(header, "crc32").value_or("none");
    }

    // The bytes of the payload from one on. Several threads may read at a time.
    void read(std::size_t from, std::span<std::byte> into) {
        constexpr std::size_t chunk = 1 << 20;  // checksummed while it is in the cache
        std::uint32_t crc = 0;
        for (std::size_t at = 0; at < into.size(); at += chunk) {
            const std::span<std::byte> part = into.subspan(at, std::min(chunk, into.size() - at));
            if (!read_at(begin_ + from + at, part)) fail("cannot be read to its end");
            crc = crc32(part, crc);
        }
        const std::lock_guard lock(mutex_);
        parts_[from] = {into.size(), crc};
    }

    // Once all is read: throws where the checksum does not fit.
    void finish() const {
        std::uint32_t crc = 0;
        std::size_t at = 0;
        for (const auto& [from, part] : parts_) {
            if (from != at) break;  // not all was read
            crc = crc32_joined(crc, part.crc, part.bytes);
            at += part.bytes;
        }
        char got[9];
        std::snprintf(got, sizeof got, "%08x", crc);
        if (at != layout_.bytes || checksum_ != got) {
            fail(text("is altered: its checksum is ", got, ", expected ", checksum_));
        }
    }

   private:
    struct File {
        int number;
        ~File() {
            if (number >= 0) ::close(number);
        }
    };
    struct Part {
        std::size_t bytes;
        std::uint32_t crc;
    };

    // Whether all of it could be read.
    bool read_at(std::size_t from, std::span<std::byte> into) const {
        while (!into.empty()) {
            const ::ssize_t got = ::pread(file_.number, into.data(), into.size(), static_cast<::off_t>(from));
            if (got < 0 && errno == EINTR) continue;
            if (got <= 0) return false;
            from += static_cast<std::size_t>(got);
            into = into.subspan(static_cast<std::size_t>(got));
        }
        return true;
    }

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
    File file_;
    std::size_t begin_ = 0;  // of the payload
    std::string checksum_;
    std::mutex mutex_;
    std::map<std::size_t, Part> parts_;  // that were read, by where they begin
};

}  // namespace cnngen
