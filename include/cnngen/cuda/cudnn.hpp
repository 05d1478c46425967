// Engines and execution plans of cuDNN's backend API: which engines can run a graph, in the heuristic's order, and the
// first that may.
#pragma once

#include <algorithm>
#include <iterator>

#include "cnngen/cuda/cudnn_graph.hpp"
#include "cnngen/cuda/engine.hpp"

namespace cnngen::cudnn {

// Where plans are made for: the GPU of a handle, or a GPU that is not there, described in cuDNN's JSON.
struct Target {
    cudnnHandle_t handle = nullptr;
    Descriptor device = {};

    static Target described(std::string_view json) {
        Target target;
        target.device = Descriptor(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR);
        try {
            target.device.set(CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, json).finalize();
        } catch (const Error& e) {
            throw ArgumentError(
                text("cuDNN cannot plan for the described device (24 JSON keys are needed, and a "
                     "libcuda.so.1, if only a no-op one): ",
                     e.what()));
        }
        return target;
    }

    // A GPU of a compute capability, 90 for 9.0, of which nothing else is true.
    static Target of_capability(int capability) {
        return described(
            text(R"({"maxGridSize": [1, 1, 1], "maxBlockSize": [1024, 1, 1], "regsPerBlock": 65536, )",
                 R"("multiProcessorCount": 1, "warpSize": 32, "maxSharedMemoryPerBlock": 49152, )",
                 R"("maxSharedMemoryPerBlockOptin": 232448, "reservedSharedMemoryPerBlock": 1024, )",
                 R"("maxRegistersPerSM": 65536, "maxCtasPerSM": 1, "maxThreadsPerBlock": 1024, )",
                 R"("maxThreadsPerSM": 2048, "pciDeviceId": 0, "isTccDriver": 0, "supportCoopLaunch": 1, )",
                 R"("totalGlobalMem": 1, "smClockRateKHz": 1, "memClockRateKHz": 1, "memoryBusWidth": 1, )",
                 R"("l2CacheSize": 1, "cudaDeviceId": 0, "driverVer": 13000, "deviceName": "", "deviceVer": )",
                 capability * 10, "}"));
    }
};

// What an engine must keep to.
struct Limits {
    std::size_t workspace = std::size_t{256} << 20;
    bool exact_float32 = false;  // no engine that rounds float32 operands: none on tensor cores
};

// The engine of a config and its knobs, by cuDNN's numbers.
inline Engine engine_of(const Descriptor& config) {
    Descriptor engine(CUDNN_BACKEND_ENGINE_DESCRIPTOR);
    config.get_descriptor(CUDNN_ATTR_ENGINECFG_ENGINE, engine);
    Engine out{Library::cudnn, engine.get_int64(CUDNN_ATTR_ENGINE_GLOBAL_INDEX)};
    // cuDNN counts none of an offered config's knobs (9.19, 9.24), and yet gives them to who has room.
    std::vector<Descriptor> knobs;
    std::vector<cudnnBackendDescriptor_t> raw;
    for (int i = 0; i < CUDNN_KNOB_TYPE_COUNTS; ++i) {
        raw.push_back(knobs.emplace_back(CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR).get());
    }
    const std::int64_t got = config.get(CUDNN_ATTR_ENGINECFG_KNOB_CHOICES, CUDNN_TYPE_BACKEND_DESCRIPTOR,
                                        CUDNN_KNOB_TYPE_COUNTS, raw.data());
    for (std::int64_t i = 0; i < got; ++i) {
        cudnnBackendKnobType_t type{};
        knobs[i].get(CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE, CUDNN_TYPE_KNOB_TYPE, 1, &type);
        out.settings.emplace_back(std::to_string(static_cast<int>(type)),
                                  knobs[i].get_int64(CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE));
    }
    return out;
}

// An engine of the graph by its number; throws where this cuDNN has none such for it.
inline Descriptor engine_descriptor(const Graph& graph, const Target& target, std::int64_t number) {
    Descriptor engine(CUDNN_BACKEND_ENGINE_DESCRIPTOR);
    engine.set(CUDNN_ATTR_ENGINE_OPERATION_GRAPH, graph.operations).set(CUDNN_ATTR_ENGINE_GLOBAL_INDEX, number);
    if (target.device) engine.set(CUDNN_ATTR_ENGINE_DEVICEPROP, target.device);
    engine.finalize();
    return engine;
}

// A knob of an engine, and the values that it may have.
struct Knob {
    int type;
    std::int64_t low, high, stride;
};

// The knobs of an engine of the graph, by its number.
inline std::vector<Knob> knobs_of(const Graph& graph, const Target& target, std::int64_t number) {
    const Descriptor engine = engine_descriptor(graph, target, number);
    const std::int64_t n = engine.count(CUDNN_ATTR_ENGINE_KNOB_INFO, CUDNN_TYPE_BACKEND_DESCRIPTOR);
    std::vector<Descriptor> infos;
    std::vector<cudnnBackendDescriptor_t> raw;
    for (std::int64_t i = 0; i < n; ++i) raw.push_back(infos.emplace_back(CUDNN_BACKEND_KNOB_INFO_DESCRIPTOR).get());
    const std::int64_t got =
        n ? engine.get(CUDNN_ATTR_ENGINE_KNOB_INFO, CUDNN_TYPE_BACKEND_DESCRIPTOR, n, raw.data()) : 0;
    std::vector<Knob> knobs;
    for (std::int64_t i = 0; i < got; ++i) {
        cudnnBackendKnobType_t type{};
        infos[i].get(CUDNN_ATTR_KNOB_INFO_TYPE, CUDNN_TYPE_KNOB_TYPE, 1, &type);
        knobs.push_back({static_cast<int>(type), infos[i].get_int64(CUDNN_ATTR_KNOB_INFO_MINIMUM_VALUE),
                         infos[i].get_int64(CUDNN_ATTR_KNOB_INFO_MAXIMUM_VALUE),
                         infos[i].get_int64(CUDNN_ATTR_KNOB_INFO_STRIDE)});
    }
    return knobs;
}

// The config that sets an engine's knobs; throws where this cuDNN has none such for the graph.
inline Descriptor engine_config(const Graph& graph, const Target& target, const Engine& wanted) {
    const Descriptor engine = engine_descriptor(graph, target, wanted.number);
    std::vector<Descriptor> knobs;
    std::vector<cudnnBackendDescriptor_t> raw;
    for (const auto& [name, value] : wanted.settings) {
        const auto knob = static_cast<cudnnBackendKnobType_t>(std::strtoll(name.c_str(), nullptr, 10));
        raw.push_back(knobs.emplace_back(CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR)
                          .set(CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE, CUDNN_TYPE_KNOB_TYPE, 1, &knob)
                          .set(CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE, value)
                          .finalize()
                          .get());
    }
    Descriptor config(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
    config.set(CUDNN_ATTR_ENGINECFG_ENGINE, engine);
    if (!raw.empty()) {
        config.set(CUDNN_ATTR_ENGINECFG_KNOB_CHOICES, CUDNN_TYPE_BACKEND_DESCRIPTOR,
                   static_cast<std::int64_t>(raw.size()), raw.data());
    }
    config.finalize();
    return config;
}

// Engine configs of one heuristic mode, best first; empty where the mode has none.
inline std::vector<Descriptor> engine_configs(const Graph& graph, const Target& target, cudnnBackendHeurMode_t mode) {
    Descriptor heuristic(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
    heuristic.set(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph.operations)
        .set(CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode);
    if (target.device) heuristic.set(CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, target.device);
    if (cudnnBackendFinalize(heuristic.get()) != CUDNN_STATUS_SUCCESS) return {};
    const std::int64_t n = heuristic.count(CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR);
    std::vector<Descriptor> configs;
    std::vector<cudnnBackendDescriptor_t> raw;
    for (std::int64_t i = 0; i < n; ++i) raw.push_back(configs.emplace_back(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR).get());
    configs.resize(static_cast<std::size_t>(
        n ? heuristic.get(CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR, n, raw.data()) : 0));
    return configs;
}

inline std::vector<cudnnBackendNumericalNote_t> numerical_notes(const Descriptor& config) {
    Descriptor engine(CUDNN_BACKEND_ENGINE_DESCRIPTOR);
    config.get_descriptor(CUDNN_ATTR_ENGINECFG_ENGINE, engine);
    std::vector<cudnnBackendNumericalNote_t> notes(CUDNN_NUMERICAL_NOTE_TYPE_COUNT);
    notes.resize(static_cast<std::size_t>(engine.get(CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE,
                                                     CUDNN_NUMERICAL_NOTE_TYPE_COUNT, notes.data())));
    return notes;
}

// Whether the engine computes float32 as float32, to the last few bits.
inline bool is_exact(const Descriptor& config) {
    constexpr cudnnBackendNumericalNote_t inexact[] = {CUDNN_NUMERICAL_NOTE_TENSOR_CORE,
                                                       CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS,
                                                       CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION,
                                                       CUDNN_NUMERICAL_NOTE_FFT,
                                                       CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_6x6,
                                                       CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_13x13};
    return std::ranges::none_of(numerical_notes(config),
                                [&](auto note) { return std::ranges::find(inexact, note) != std::end(inexact); });
}

// An execution plan. Executing it is safe from several threads, each with its own handle.
class Plan {
   public:
    // From an engine config; throws where cuDNN cannot build it.
    Plan(const Descriptor& config, const Target& target, std::vector<Scalar> scalars)
        : plan_(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR), scalars_(std::move(scalars)), engine_(engine_of(config)) {
        plan_.set(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, config);
        if (target.device) {
            plan_.set(CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP, target.device);
        } else {
            plan_.set(CUDNN_ATTR_EXECUTION_PLAN_HANDLE, target.handle);
        }
        plan_.finalize();
    }

    // From the text that `serialized` gave, on the same cuDNN and GPU; throws where they differ.
    Plan(std::string_view serialized, cudnnHandle_t handle, std::vector<Scalar> scalars, Engine engine)
        : plan_(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR), scalars_(std::move(scalars)), engine_(std::move(engine)) {
        plan_.set(CUDNN_ATTR_EXECUTION_PLAN_HANDLE, handle)
            .set(CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION, serialized)
            .finalize();
    }

    std::size_t workspace() const {
        return static_cast<std::size_t>(plan_.get_int64(CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE));
    }
    const Engine& engine() const { return engine_; }
    const std::vector<Scalar>& scalars() const { return scalars_; }
    std::string serialized() const { return plan_.get_text(CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION); }

    // Addresses of x, w, y and the epilogue's operands; null where the plan has no such tensor.
    void execute(cudnnHandle_t handle, std::span<void* const> addresses, void* workspace) {
        std::vector<std::int64_t> uids;
        std::vector<void*> pointers;
        for (std::size_t i = 0; i < addresses.size(); ++i) {
            if (!addresses[i]) continue;
            uids.push_back(uid_x + static_cast<std::int64_t>(i));
            pointers.push_back(addresses[i]);
        }
        for (Scalar& scalar : scalars_) {
            uids.push_back(scalar.uid);
            pointers.push_back(&scalar.value);
        }
        Descriptor pack(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
        pack.set(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, uids)
            .set(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, static_cast<std::int64_t>(pointers.size()),
                 pointers.data())
            .set(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, &workspace)
            .finalize();
        check(cudnnBackendExecute(handle, plan_.get(), pack.get()), "cuDNN: running a plan");
    }

   private:
    Descriptor plan_;
    std::vector<Scalar> scalars_;
    Engine engine_;
};

// The plan of one engine; throws where it cannot be, or does not keep to the limits.
inline Plan plan(const Graph& graph, const Target& target, const Limits& limits, const Engine& engine) {
    const Descriptor config = engine_config(graph, target, engine);
    if (limits.exact_float32 && !is_exact(config)) throw Error("it would round float32 operands (tf32 is off)");
    Plan made(config, target, graph.scalars);
    if (made.workspace() > limits.workspace) {
        throw Error(
            text("it needs ", size_text(made.workspace()), " of workspace, more than ", size_text(limits.workspace)));
    }
    return made;
}

// The heuristic's first engine that keeps to the limits. Throws with what was offered and why nothing of it would do.
inline Plan plan(const Graph& graph, const Target& target, const Limits& limits) {
    int offered = 0, inexact = 0, too_large = 0;
    std::string last;
    for (auto mode : {CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_FALLBACK, CUDNN_HEUR_MODE_B}) {
        for (const Descriptor& config : engine_configs(graph, target, mode)) {
            ++offered;
            if (limits.exact_float32 && !is_exact(config)) {
                ++inexact;
                continue;
            }
            try {
                Plan made(config, target, graph.scalars);
                if (made.workspace() <= limits.workspace) return made;
                ++too_large;
            } catch (const Error& e) {
                last = e.what();
            }
        }
    }
    std::string why = text("no cuDNN plan: ", offered, " engine configurations were offered");
    if (inexact) why += text(", ", inexact, " would round float32 operands (tf32 is off)");
    if (too_large) why += text(", ", too_large, " need more workspace than ", size_text(limits.workspace));
    throw Error(last.empty() ? why : text(why, "; the last failure: ", last));
}

}  // namespace cnngen::cudnn
