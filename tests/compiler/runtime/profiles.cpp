// A network of one kernel with two profiles, as generated code states one: y = x + its offset in the item, for items of
// 3 or of 5 numbers.
#include "cnngen/cuda/model.hpp"
#include "fake_cuda.hpp"
namespace profiles {
namespace {
using namespace cnngen;
void k_number(int n, const float* x, float* y) {
    for (int i = 0; i < n * 3; ++i) y[i] = x[i] + i % 3;
}
void k_number_profile1(int n, const float* x, float* y) {
    for (int i = 0; i < n * 5; ++i) y[i] = x[i] + i % 5;
}
Registered<k_number> r1;
Registered<k_number_profile1> r2;
void forward(Pass& pass) {
    switch (pass.plan()) {
        case 0:  // x 3, batch 1
        case 1:  // x 3, batch 4
            pass.launch({"y"}, rows(pass.output<float>(0).data, DType::float32, pass.batch(), 3), k_number, 1, 32,
                        pass.batch(), pass.input<float>(0), pass.output<float>(0));
            break;
        case 2:  // x 5, batch 1
        case 3:  // x 5, batch 4
            pass.launch({"y"}, rows(pass.output<float>(0).data, DType::float32, pass.batch(), 5), k_number_profile1, 1,
                        32, pass.batch(), pass.input<float>(0), pass.output<float>(0));
            break;
    }
}
}  // namespace
const Model& model() {
    static const Model m = {.name = "profiles",
                            .precision = "float32 storage",
                            .inputs = {{.name = "x", .shape = {3}, .staging = {0, 0, 256, 256}, .further = {{5}}}},
                            .outputs = {{.name = "y", .shape = {3}, .staging = {512, 512, 0, 0}, .further = {{5}}}},
                            .batch_sizes = {1, 4},
                            .arena_bytes = {1024, 1024, 1024, 1024},
                            .weight_bytes = 512,
                            .weight_file = "profiles.weights.safetensors",
                            .weight_layout = "00000000000000aa",
                            .code = {{800, 900}, reinterpret_cast<const void*>(k_number)},
                            .forward = forward};
    return m;
}
}  // namespace profiles
