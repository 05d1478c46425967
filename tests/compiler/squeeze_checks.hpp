// The checks of squeeze and excitation; see kernel_checks.hpp.
#pragma once

#include "kernel_checks.hpp"
// The kernel comes after the emulation's names.
#include "cnngen/cuda/kernels/squeeze_excite.cuh"

namespace checks {

using cnngen::SqueezeExciteShape;
using cnngen::SqueezeExciteTile;

// What both kernels of squeeze and excitation share: `hidden` is a bias and a ReLU; by definition the sum for a gate.
template <typename T, SqueezeExciteShape shape>
class SqueezeExcite {
   public:
    explicit SqueezeExcite(int batch)
        : x(static_cast<std::size_t>(batch) * shape.pixels * shape.c),
          w1(static_cast<std::size_t>(shape.hidden) * shape.c),
          w2(w1.size()),
          bias(shape.hidden) {
        fill(x, 0.0f);
        fill(w1);
        fill(w2);
        fill(bias);
        for (int n = 0; n < batch; ++n) {
            std::vector<double> means(shape.c);
            for (int i = 0; i < shape.pixels * shape.c; ++i) {
                means[i % shape.c] += cnngen::to_float(x[static_cast<std::size_t>(n) * shape.pixels * shape.c + i]);
            }
            for (int m = 0; m < shape.hidden; ++m) {
                double sum = bias[m], size = 1.0;
                for (int c = 0; c < shape.c; ++c) {
                    const double term = means[c] / shape.pixels * cnngen::to_float(w1[m * shape.c + c]);
                    sum += term;
                    size += std::fabs(term);
                }
                units_.push_back(std::max(sum, 0.0));
                sizes_.push_back(size);
            }
        }
    }

    auto hidden() {
        return [this](int, int m) {
            const float number = bias[m];
            return [=](float (&acc)[1]) { acc[0] = cnngen::fn::relu(acc[0] + number); };
        };
    }

    double sum(int n, int c, double& scale) {
        double result = 0.0;
        for (int m = 0; m < shape.hidden; ++m) {
            const double weight = cnngen::to_float(w2[c * shape.hidden + m]);
            result += weight * units_[n * shape.hidden + m];
            scale += std::fabs(weight) * sizes_[n * shape.hidden + m];
        }
        return result;
    }

    Buffer<T> x, w1, w2;
    Buffer<float> bias;

   private:
    std::vector<double> units_, sizes_;  // of the hidden units, and the sums of their terms' absolute values
};

template <typename T, typename Y, SqueezeExciteTile tile, SqueezeExciteShape shape>
void squeeze_excite(const char* name, int batch) {
    SqueezeExcite<T, shape> block(batch);
    const auto launch = [&](Y* y, const Epilogue& epilogue) {
        const auto finish = [&](int n, int c) { return [=](float (&acc)[1]) { epilogue(acc, n, c, 0, 0); }; };
        emulation::launch(
            cnngen::blocks(shape, tile, batch) + tile.cluster, tile.threads,
            [&] {
                cnngen::squeeze_excite<T, tile, shape>(batch, block.x.data(), block.w1.data(), block.w2.data(), y,
                                                       block.hidden(), finish);
            },
            tile.cluster, cnngen::shared_bytes<T>(shape, tile));
    };
    run<Y>(name, batch, shape.c, 1, 1, launch,
           [&](int n, int c, int, int, double& scale) { return block.sum(n, c, scale); });
}

// The gate is half the sum.
template <typename T, typename Y, SqueezeExciteTile tile, SqueezeExciteShape shape>
void squeeze_excite_scale(const char* name, int batch) {
    SqueezeExcite<T, shape> block(batch);
    const auto launch = [&](Y* y, const Epilogue& epilogue) {
        const auto gate = [](int, int) { return [](float (&acc)[1]) { acc[0] *= 0.5f; }; };
        emulation::launch(
            cnngen::blocks(shape, tile, batch) + tile.cluster, tile.threads,
            [&] {
                cnngen::squeeze_excite_scale<T, tile, shape>(batch, block.x.data(), block.w1.data(), block.w2.data(), y,
                                                             block.hidden(), gate, epilogue);
            },
            tile.cluster, cnngen::shared_bytes<T>(shape, tile, true));
    };
    const int rows = shape.pixels / shape.width;
    run<Y>(name, batch, shape.c, rows, shape.width, launch, [&](int n, int c, int h, int w, double& scale) {
        const std::size_t pixel = static_cast<std::size_t>(n) * shape.pixels + h * shape.width + w;
        return 0.5 * block.sum(n, c, scale) * cnngen::to_float(block.x[pixel * shape.c + c]);
    });
}

}  // namespace checks
