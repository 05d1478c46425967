// What a network tells of itself and of a pass: times, and what each layer computed.
#pragma once

#include <chrono>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "cnngen/model.hpp"

namespace cnngen {

// Milliseconds by part, in order.
using Timings = std::vector<std::pair<std::string, double>>;

class Stopwatch {
   public:
    // Adds the time since the last lap under `part`.
    void lap(Timings& timings, const char* part) {
        const auto now = std::chrono::steady_clock::now();
        timings.emplace_back(part, std::chrono::duration<double, std::milli>(now - last_).count());
        last_ = now;
    }

   private:
    std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

struct LayerTime {
    std::string layer;
    double microseconds;
};

// What a layer computed, on the host, packed.
struct TracedLayer {
    std::string layer;
    std::vector<std::int64_t> shape;  // logical: N, C, H, W
    DType dtype;
    std::string layout;  // of the data: "NHWC", "NCHW", or "" where axes lie in their order
    std::vector<std::byte> data;
};

// Only the first n items: rows beyond were never given.
inline void keep_items(TracedLayer& layer, std::int64_t planned, std::int64_t n) {
    if (layer.shape.empty() || layer.shape[0] != planned) return;
    layer.data.resize(layer.data.size() / static_cast<std::size_t>(planned) * static_cast<std::size_t>(n));
    layer.shape[0] = n;
}

// "image: float32 NCHW N x 3 x 32 x 32"; with several profiles "... or N x 3 x 64 x 64".
inline std::string port_text(const Port& port, bool batched) {
    std::string shapes;
    for (std::size_t profile = 0; profile <= port.further.size(); ++profile) {
        std::string shape = batched ? "N" : "";
        for (std::int64_t extent : port.shape_in(profile)) shape += text(shape.empty() ? "" : " x ", extent);
        shapes += text(profile ? " or " : "", shape);
    }
    return text(port.name, ": ", name_of(port.dtype), " ", port.layout, *port.layout ? " " : "", shapes);
}

// What a summary says over the steps of a plan: "batch 8", with several profiles "image 3 x 64 x 64, batch 8".
template <class Model>
std::string plan_text(const Model& model, std::size_t plan) {
    std::string out;
    for (const Port& port : model.inputs) {
        if (port.further.empty()) break;
        std::string shape;
        for (std::int64_t extent : port.shape_in(model.profile_of(plan))) {
            shape += text(shape.empty() ? "" : " x ", extent);
        }
        out += text(out.empty() ? "" : ", ", port.name, " ", shape);
    }
    if (model.batched) out += text(out.empty() ? "" : ", ", "batch ", model.batch_of(plan));
    return out;
}

// The text, filled up with spaces to a column's width.
inline std::string column(std::string cell, std::size_t width) {
    cell.resize(std::max(cell.size() + 1, width), ' ');
    return cell;
}

inline std::string milliseconds_text(double milliseconds) {
    char out[32];
    std::snprintf(out, sizeof out, "%.1f ms", milliseconds);
    return out;
}

// " weights 1.2 ms plans 3.4 ms"
inline std::string timings_text(const Timings& timings) {
    std::string out;
    for (const auto& [part, milliseconds] : timings) out += text(" ", part, " ", milliseconds_text(milliseconds));
    return out;
}

}  // namespace cnngen
