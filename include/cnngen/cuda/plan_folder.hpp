// Built plans kept as text between processes.
#pragma once

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <optional>

#include "cnngen/error.hpp"

namespace cnngen::inline cuda {

// Serialized cuDNN plans in a folder, one file a signature. An entry that cannot be read is as good as none, and a
// folder that cannot be written is no error: the plans are only built again.
class PlanFolder {
   public:
    PlanFolder() = default;  // keeps nothing
    explicit PlanFolder(std::filesystem::path folder) : folder_(std::move(folder)) {}

    struct Entry {
        std::string engine;
        std::string plan;
    };

    std::optional<Entry> read(const std::string& signature) const {
        if (folder_.empty()) return std::nullopt;
        const File in(std::fopen(file(signature).c_str(), "rb"));
        if (!in) return std::nullopt;
        std::string all;
        char block[16384];
        while (const std::size_t got = std::fread(block, 1, sizeof block, in.get())) all.append(block, got);
        // The signature's line, the engine's line, the plan.
        const std::size_t first = all.find('\n');
        if (first == std::string::npos || all.compare(0, first, signature) != 0) return std::nullopt;
        const std::size_t second = all.find('\n', first + 1);
        if (second == std::string::npos) return std::nullopt;
        return Entry{all.substr(first + 1, second - first - 1), all.substr(second + 1)};
    }

    void write(const std::string& signature, const Entry& entry) const {
        if (folder_.empty()) return;
        std::error_code ignored;
        std::filesystem::create_directories(folder_, ignored);
        const std::filesystem::path to = file(signature);
        const std::filesystem::path part = text(to.string(), ".", ::getpid(), ".part");  // renamed when it is whole
        std::FILE* out = std::fopen(part.c_str(), "wb");
        if (!out) return;
        const std::string all = text(signature, "\n", entry.engine, "\n", entry.plan);
        const bool whole = std::fwrite(all.data(), 1, all.size(), out) == all.size();
        const bool closed = std::fclose(out) == 0;
        if (whole && closed) std::filesystem::rename(part, to, ignored);
        if (!whole || !closed || ignored) std::filesystem::remove(part, ignored);
    }

   private:
    struct Close {
        void operator()(std::FILE* file) const { std::fclose(file); }
    };
    using File = std::unique_ptr<std::FILE, Close>;

    // FNV-1a; the whole signature stands in the file, so that a collision is no more than a miss.
    std::filesystem::path file(const std::string& signature) const {
        std::uint64_t hash = 0xcbf29ce484222325u;
        for (unsigned char c : signature) hash = (hash ^ c) * 0x100000001b3u;
        char name[32];
        std::snprintf(name, sizeof name, "%016llx.json", static_cast<unsigned long long>(hash));
        return folder_ / name;
    }

    std::filesystem::path folder_;
};

// ${XDG_CACHE_HOME:-~/.cache}/cnngen/plans, or nothing with CNNGEN_PLAN_CACHE=0 or no home.
inline std::string default_plan_cache() {
    const auto environment = [](const char* name) {
        const char* value = std::getenv(name);
        return std::string(value ? value : "");
    };
    if (environment("CNNGEN_PLAN_CACHE") == "0") return "";
    std::string base = environment("XDG_CACHE_HOME");
    if (base.empty() && !environment("HOME").empty()) base = environment("HOME") + "/.cache";
    return base.empty() ? "" : base + "/cnngen/plans";
}

}  // namespace cnngen::inline cuda
