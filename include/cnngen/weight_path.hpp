// Where a network's weight file is.
#pragma once

#include <dlfcn.h>

#include <filesystem>
#include <vector>

#include "cnngen/error.hpp"

namespace cnngen {

// As given, or where it is found: beside the program or library that holds the network, or in the current folder.
// Throws with every place that was looked at.
template <class Model>
std::string find_weights(const Model& model, const std::string& given) {
    if (!given.empty()) return given;
    std::vector<std::filesystem::path> places;
    Dl_info binary{};
    if (dladdr(reinterpret_cast<const void*>(model.forward), &binary) && binary.dli_fname) {
        places.push_back(std::filesystem::path(binary.dli_fname).parent_path() / model.weight_file);
    }
    places.push_back(std::filesystem::path(model.weight_file));
    std::string looked;
    for (const auto& place : places) {
        std::error_code ignored;
        if (std::filesystem::exists(place, ignored)) return place.string();
        looked += text(looked.empty() ? "'" : " and '", place.string(), "'");
    }
    throw Error(text("the weight file of '", model.name, "' was not found; looked for ", looked));
}

}  // namespace cnngen
