// Weights as the steps read them: most as the file has them, filters in the layout that oneDNN picked. A filter that
// only oneDNN reads is kept in that layout alone.
#pragma once

#include <map>

#include "cnngen/cpu/memory.hpp"
#include "cnngen/cpu/onednn.hpp"
#include "cnngen/weights.hpp"

namespace cnngen::inline cpu {

class PreparedWeights {
   public:
    // Small pages: the slab has holes where filters lie elsewhere.
    explicit PreparedWeights(std::size_t bytes) : slab_(bytes, "weights", Pages::small) {}

    // Where the file's bytes would lie, whether or not they are kept.
    void* slab() const { return slab_.data(); }
    bool contains(const void* address) const { return slab_.contains(address); }

    // Bytes of memory that hold weights.
    std::size_t bytes() const { return plain_bytes_ + reordered_bytes_; }

    // Before load(): `plan` reads the tensor at `w` in a layout of its own.
    void reorder(const void* w, const Plan& plan) {
        Filter& filter = filters_[offset_of(w)];
        filter.given = plan.given_weights();
        const bool is_new =
            std::ranges::none_of(filter.copies, [&](const Copy& copy) { return copy.layout == plan.wanted_weights(); });
        if (is_new) filter.copies.push_back({plan.wanted_weights(), {}});
    }
    // Before load(): somebody reads what lies at this address as the file has it.
    void keep(const void* address) {
        if (contains(address)) kept_.push_back(offset_of(address));
    }

    // Reads the file in one go; needs no more memory than the weights and the largest filter.
    void load(WeightFile& file, const dnnl::engine& engine) {
        std::vector<std::byte> buffer;
        std::size_t at = 0;
        for (auto& [offset, filter] : filters_) {
            if (offset < at) throw Error("two layers read overlapping weights in different layouts");
            read_plain(file, at, offset);
            const std::size_t bytes = filter.given.get_size();
            const bool is_kept =
                std::ranges::any_of(kept_, [&](std::size_t k) { return k >= offset && k < offset + bytes; });
            if (is_kept) {
                read_plain(file, offset, offset + bytes);
                make_copies(filter, slab_.data() + offset, engine);
            } else {
                buffer.resize(std::max(buffer.size(), bytes));
                file.read(offset, {buffer.data(), bytes});
                make_copies(filter, buffer.data(), engine);
            }
            at = offset + bytes;
        }
        read_plain(file, at, slab_.bytes());
        file.finish();
    }

    // The tensor at `w` as the plan reads it.
    void* find(void* w, const Plan& plan) const {
        const auto filter = filters_.find(offset_of(w));
        if (filter != filters_.end()) {
            for (const Copy& copy : filter->second.copies) {
                if (copy.layout == plan.wanted_weights()) return copy.memory.data();
            }
        }
        return w;
    }

   private:
    struct Copy {
        dnnl::memory::desc layout;
        Region memory;
    };
    struct Filter {
        dnnl::memory::desc given;
        std::vector<Copy> copies;
    };

    std::size_t offset_of(const void* address) const {
        return static_cast<std::size_t>(static_cast<const std::byte*>(address) - slab_.data());
    }

    void read_plain(WeightFile& file, std::size_t begin, std::size_t end) {
        file.read(begin, {slab_.data() + begin, end - begin});
        plain_bytes_ += end - begin;
    }

    void make_copies(Filter& filter, std::byte* from, const dnnl::engine& engine) {
        for (Copy& copy : filter.copies) {
            const std::size_t bytes = copy.layout.get_size();
            copy.memory = Region(bytes, "weights", Pages::huge);
            reordered_bytes_ += bytes;
            dnnl::memory plain(filter.given, engine, from), reordered(copy.layout, engine, copy.memory.data());
            dnnl::stream stream(engine);
            dnnl::reorder(plain, reordered).execute(stream, plain, reordered);
            stream.wait();
        }
    }

    Region slab_;
    std::map<std::size_t, Filter> filters_;  // by offset in the slab
    std::vector<std::size_t> kept_;
    std::size_t plain_bytes_ = 0;
    std::size_t reordered_bytes_ = 0;
};

}  // namespace cnngen::inline cpu
