// Plans that are kept as text: who makes them, and who runs each for the first time.
#include "cnngen/cuda/planner.hpp"

#include <algorithm>
#include <iostream>

#include "fake_libraries.hpp"

using namespace cnngen;

extern "C" long fake_count(const char* what);
extern "C" void fake_set(const char* what, long value);

namespace {
constexpr std::size_t limit = 1024;

Tensor tensor(std::int64_t n, std::int64_t c) {
    return {nullptr, DType::float16, 4, {n, c, 4, 4}, {16 * c, 1, 4 * c, c}};
}

Operation convolution(const char* engine, std::int64_t filters) {
    Convolution c;
    c.layers = {"conv"};
    c.x = tensor(1, 8);
    c.w = {nullptr, DType::float16, 4, {filters, 8, 1, 1}, {8, 1, 8, 8}};
    c.y = tensor(1, filters);
    c.engine = engine;
    return c;
}

Operation product() {
    Matmul m;
    m.layers = {"fc"};
    m.x = m.w = m.y = {nullptr, DType::float16, 2, {8, 8}, {8, 1}};
    m.engine = "cublaslt 66";
    return m;
}

// Plans of some operations, each kept under its engine's name; how often that and by how many threads they ran.
void plan(const std::filesystem::path& folder, const std::vector<Operation>& operations, const char* damaged = "") {
    const PlanFolder kept(folder);
    for (const Operation& op : operations) {
        const std::string engine(engine_of(op));
        if (!engine.starts_with("cublaslt")) {
            kept.write(plan_key(op, limit), {engine, engine == damaged ? "damaged" : engine});
        }
    }
    const long cudnn = fake_count("cudnnCreate"), cublaslt = fake_count("cublasLtCreate");
    Planner planner(0, limit);
    planner.keep_in({}, kept);
    try {
        planner.prepare(operations);
        std::cout << planner.size() << " plans, " << planner.built() << " built";
    } catch (const Error& error) {
        std::cout << error.what();
    }
    std::map<std::string, std::pair<int, std::set<std::thread::id>>> by_engine;
    std::set<std::thread::id> threads;
    for (const FakeRun& run : fake_runs()) {
        auto& [times, by] = by_engine[run.plan];
        ++times;
        by.insert(run.thread);
        threads.insert(run.thread);
    }
    for (const auto& [engine, found] : by_engine) {
        std::cout << "; " << engine << " " << found.first << " by " << found.second.size();
    }
    const long handles = fake_count("cudnnCreate") - cudnn;
    std::cout << "; few: " << (handles <= 4 && threads.size() <= 3)
              << "; cuBLASLt: " << fake_count("cublasLtCreate") - cublaslt << "\n";
}
}  // namespace

int main(int, char** arguments) {
    const std::filesystem::path folder = arguments[1];
    std::vector<Operation> operations;
    for (int i = 1; i <= 6; ++i) operations.push_back(convolution("cudnn 41 2=0", 8 * i));
    for (int i = 1; i <= 3; ++i) operations.push_back(convolution("cudnn 39", 8 * i));
    for (int i = 1; i <= 2; ++i) operations.push_back(convolution("cudnn 4", 8 * i));
    operations.push_back(convolution("cudnn 48", 8));
    plan(folder / "cudnn", operations);
    operations.push_back(product());
    plan(folder / "both", operations);
    plan(folder / "damaged", operations, "cudnn 48");
    fake_set("memory", 16);  // bytes: nothing is left to run on
    plan(folder / "no room", operations);
}
