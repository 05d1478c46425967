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
    function(
        "celu", [](float x) { return fn::celu(x, 1.5f); },
        [](double x) { return x > 0.0 ? x : 1.5 * std::expm1(x / 1.5); });
    function(
        "selu", [](float x) { return fn::selu(x, 1.5f, 1.25f); },
        [](double x) { return 1.25 * (x > 0.0 ? x : 1.5 * std::expm1(x)); });
    function("softsign", fn::softsign, [](double x) { return x / (1.0 + std::fabs(x)); });
    function(
        "thresholded_relu", [](float x) { return fn::thresholded_relu(x, 0.75f); },
        [](double x) { return x > 0.75 ? x : 0.0; });
    function(
        "shrink", [](float x) { return fn::shrink(x, 0.25f, 0.5f); },
        [](double x) { return x < -0.5 ? x + 0.25 : (x > 0.5 ? x - 0.25 : 0.0); });
    function("swish", [](float x) { return fn::swish(x, 1.5f); }, [](double x) { return x * sigmoid(1.5 * x); });
    function(
        "scaled_softplus", [](float x) { return fn::scaled_softplus(x, 2.0f); },
        [](double x) { return 2.0 * x > 30.0 ? x : std::log1p(std::exp(2.0 * x)) / 2.0; }, -200.0, 200.0);
    function("sign", fn::sign, [](double x) { return x > 0.0 ? 1.0 : (x < 0.0 ? -1.0 : 0.0); });
    function("round", fn::round, [](double x) { return std::nearbyint(x); });
    function("trunc", fn::trunc, [](double x) { return std::trunc(x); });
    function("sin", fn::sin, [](double x) { return std::sin(x); });
    function("cos", fn::cos, [](double x) { return std::cos(x); });
    function("tan", fn::tan, [](double x) { return std::tan(x); }, -1.5, 1.5);
    function("asin", fn::asin, [](double x) { return std::asin(x); }, -1.0, 1.0);
    function("acos", fn::acos, [](double x) { return std::acos(x); }, -1.0, 1.0);
    function("atan", fn::atan, [](double x) { return std::atan(x); });
    function("sinh", fn::sinh, [](double x) { return std::sinh(x); });
    function("cosh", fn::cosh, [](double x) { return std::cosh(x); });
    function("asinh", fn::asinh, [](double x) { return std::asinh(x); });
    function("acosh", fn::acosh, [](double x) { return std::acosh(x); }, 1.0);
    function("atanh", fn::atanh, [](double x) { return std::atanh(x); }, -0.999, 0.999);
    function("fmod", [](float x) { return fn::fmod(x, 1.75f); }, [](double x) { return std::fmod(x, 1.75); });
    function(
        "mod", [](float x) { return fn::mod(x, -1.75f); },
        [](double x) {
            const double rest = std::fmod(x, 1.75);
            return rest > 0.0 ? rest - 1.75 : rest;
        });
    function("clip", [](float x) { return fn::clip(x, -1.5f, 2.5f); }, [](double x) { return clip(x, -1.5, 2.5); });
    function("pow", [](float x) { return fn::pow(x, 3.0f); }, [](double x) { return x * x * x; });
    function("max", [](float x) { return fn::max(x, 3.0f); }, [](double x) { return std::max(x, 3.0); });
    function("min", [](float x) { return fn::min(3.0f, x); }, [](double x) { return std::min(x, 3.0); });
}

}  // namespace checks
