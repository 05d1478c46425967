// cnngen::fn against its definitions in double precision, on the host.
#pragma once

#include "kernel_checks.hpp"

namespace checks {

template <typename Got, typename Want>
void function(const char* name, Got got, Want want, double low = -60.0, double high = 60.0) {
    constexpr int points = 20001;
    for (int i = 0; i < points; ++i) {
        const float x = static_cast<float>(low + (high - low) * i / (points - 1));
        const double expected = want(double{x});
        // Relative near 1, absolute where the function vanishes: what a network's next layer sees.
        const double allowed = 1e-6 * std::fabs(expected) + 1e-7;
        if (!(std::fabs(got(x) - expected) <= allowed)) {
            std::fprintf(stderr, "%s(%.9g) is %.9g, should be %.9g\n", name, x, got(x), expected);
            std::_Exit(1);
        }
    }
    if (!std::isnan(got(std::nanf("")))) {
        std::fprintf(stderr, "%s(NaN) is %g\n", name, got(std::nanf("")));
        std::_Exit(1);
    }
    std::printf("%s\n", name);
}

inline double clip(double x, double low, double high) { return std::min(std::max(x, low), high); }
inline double sigmoid(double x) { return 1.0 / (1.0 + std::exp(-x)); }

inline void functions() {
    namespace fn = cnngen::fn;
    function("identity", fn::identity, [](double x) { return x; });
    function("neg", fn::neg, [](double x) { return -x; });
    function("abs", fn::abs, [](double x) { return std::fabs(x); });
    function("sqrt", fn::sqrt, [](double x) { return std::sqrt(x); }, 0.0);
    function("rsqrt", fn::rsqrt, [](double x) { return 1.0 / std::sqrt(x); }, 1e-6);
    function("exp", fn::exp, [](double x) { return std::exp(x); });
    function("log", fn::log, [](double x) { return std::log(x); }, 1e-6);
    function("erf", fn::erf, [](double x) { return std::erf(x); });
    function("floor", fn::floor, [](double x) { return std::floor(x); });
    function("ceil", fn::ceil, [](double x) { return std::ceil(x); });
    function("tanh", fn::tanh, [](double x) { return std::tanh(x); });
    function("relu", fn::relu, [](double x) { return std::max(x, 0.0); });
    function("relu6", fn::relu6, [](double x) { return clip(x, 0.0, 6.0); });
    function("sigmoid", fn::sigmoid, sigmoid, -200.0, 200.0);
    function("silu", fn::silu, [](double x) { return x * sigmoid(x); }, -200.0, 200.0);
    function("gelu", fn::gelu, [](double x) { return 0.5 * x * std::erfc(-x / std::sqrt(2.0)); });
    function("gelu_tanh", fn::gelu_tanh, [](double x) {
        return 0.5 * x * (1.0 + std::tanh(std::sqrt(2.0 / std::acos(-1.0)) * (x + 0.044715 * x * x * x)));
    });
    function("softplus", fn::softplus, [](double x) { return x > 30.0 ? x : std::log1p(std::exp(x)); }, -200.0, 200.0);
    function(
        "mish", fn::mish, [](double x) { return x * std::tanh(x > 30.0 ? x : std::log1p(std::exp(x))); }, -200.0,
        200.0);
    function("hard_swish", fn::hard_swish, [](double x) { return x * clip(x / 6.0 + 0.5, 0.0, 1.0); });
    function(
        "hard_sigmoid", [](float x) { return fn::hard_sigmoid(x, 0.2f, 0.5f); },
        [](double x) { return clip(double{0.2f} * x + 0.5, 0.0, 1.0); });
    function(
        "leaky_relu", [](float x) { return fn::leaky_relu(x, 0.125f); },
        [](double x) { return x < 0.0 ? 0.125 * x : x; });
    function("prelu", [](float x) { return fn::prelu(x, -2.0f); }, [](double x) { return x < 0.0 ? -2.0 * x : x; });
    function(
        "elu", [](float x) { return fn::elu(x, 1.5f); }, [](double x) { return x > 0.0 ? x : 1.5 * std::expm1(x); });
    function("clip", [](float x) { return fn::clip(x, -1.5f, 2.5f); }, [](double x) { return clip(x, -1.5, 2.5); });
    function("pow", [](float x) { return fn::pow(x, 3.0f); }, [](double x) { return x * x * x; });
    function("max", [](float x) { return fn::max(x, 3.0f); }, [](double x) { return std::max(x, 3.0); });
    function("min", [](float x) { return fn::min(3.0f, x); }, [](double x) { return std::min(x, 3.0); });
}

}  // namespace checks
