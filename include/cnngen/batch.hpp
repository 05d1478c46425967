// A batch as its callers have it: in one piece, or item by item.
#pragma once

#include <cstdint>
#include <span>

namespace cnngen {

// Items that lie one after the other: an address for each of the network's inputs, in the model's order.
struct Part {
    std::span<const void* const> inputs;
    std::int64_t n = 1;
};

// Items in all. A negative number is given back as it is: no network has such a batch.
inline std::int64_t count_items(std::span<const Part> parts) {
    std::int64_t n = 0;
    for (const Part& part : parts) {
        if (part.n < 0) return part.n;
        n += part.n;
    }
    return n;
}

}  // namespace cnngen
