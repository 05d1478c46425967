// Operations held against their definition on the GPU: random operands, poisoned outputs, the relative error.
#pragma once

#include <cmath>

#include "cnngen/cuda/kernels/reference_problem.hpp"
#include "cnngen/cuda/modes.hpp"

namespace cnngen::inline cuda {

// Bytes from the first element to behind the last one.
inline std::size_t extent(const Tensor& t) {
    std::int64_t last = 0;
    for (int axis = 0; axis < t.rank; ++axis) last += (t.dims[axis] - 1) * t.strides[axis];
    return static_cast<std::size_t>(last + 1) * bytes_of(t.dtype);
}

// How a tensor lies: so many bytes, then what is another's, so many times.
struct Rows {
    std::size_t width, pitch, count;
};
inline Rows rows_of(const Tensor& t) {
    const auto item = bytes_of(t.dtype);
    const bool has_gaps = t.rank == 4 && t.strides[1] == 1 && t.strides[3] > t.dims[1];
    if (!has_gaps) return {extent(t), extent(t), 1};
    return {static_cast<std::size_t>(t.dims[1]) * item, static_cast<std::size_t>(t.strides[3]) * item,
            static_cast<std::size_t>(t.dims[0] * t.dims[2] * t.dims[3])};
}

constexpr ReferenceTensor::Type reference_type(DType dtype) {
    switch (dtype) {
        case DType::float16:
            return ReferenceTensor::float16;
        case DType::bfloat16:
            return ReferenceTensor::bfloat16;
        case DType::int32:
            return ReferenceTensor::int32;
        case DType::int64:
            return ReferenceTensor::int64;
        case DType::uint8:
        case DType::boolean:
            return ReferenceTensor::uint8;
        default:
            return ReferenceTensor::float32;
    }
}

inline ReferenceTensor reference_tensor(const Tensor& t) {
    ReferenceTensor out{t.data, reference_type(t.dtype), t.rank, {}, {}};
    std::ranges::copy(t.dims, out.dims);
    std::ranges::copy(t.strides, out.strides);
    return out;
}

inline ReferenceProblem problem_of(const Operation& op) {
    ReferenceProblem p{};
    p.kind = static_cast<ReferenceProblem::Kind>(op.index());
    p.groups = 1;
    if (const auto* c = std::get_if<Convolution>(&op)) {
        std::ranges::copy(c->stride, p.stride);
        std::ranges::copy(c->dilation, p.dilation);
        std::ranges::copy_n(c->padding.begin(), 2, p.padding);
        p.groups = c->groups;
    }
    std::visit(
        [&](const auto& o) {
            p.x = reference_tensor(o.x);
            p.w = reference_tensor(o.w);
            p.y = reference_tensor(o.y);
            if (o.epilogue.size() > std::size(p.steps)) throw Error("an epilogue too long for the reference");
            for (const Pointwise& step : o.epilogue) {
                p.steps[p.step_count++] = {static_cast<ReferenceStep::Function>(step.function),
                                           reference_tensor(step.operand), step.a, step.b, step.slope};
            }
        },
        op);
    return p;
}

class Reference {
   public:
    Reference(const ReferenceKernels& kernels, cudaStream_t stream)
        : kernels_(kernels), stream_(stream), totals_(allocate_device(3 * sizeof(double), "sums")) {}

    // So much that is not a number.
    void poison(const Tensor& y) const {
        const Rows rows = rows_of(y);
        check(cudaMemset2DAsync(y.data, rows.pitch, 0xff, rows.width, rows.count, stream_), "poisoning an output");
    }

    // Random numbers, other ones each time; in what lies between a tensor's rows too.
    void fill(const Tensor& t) {
        const void* kernel = t.dtype == DType::float16    ? kernels_.fill_float16
                             : t.dtype == DType::bfloat16 ? kernels_.fill_bfloat16
                                                          : kernels_.fill_float32;
        void* data = t.data;
        std::int64_t count = static_cast<std::int64_t>(extent(t) / bytes_of(t.dtype));
        unsigned seed = ++seed_;
        const void* arguments[] = {&data, &count, &seed};
        launch(kernel, count, arguments);
    }

    // All that an operation reads, but for weights.
    void fill_operands(const Operation& op) {
        std::visit(
            [&](const auto& o) {
                fill(o.x);
                for (const Pointwise& p : o.epilogue) {
                    if (p.operand.rank > 1) fill(p.operand);
                }
                if constexpr (std::is_same_v<std::decay_t<decltype(o)>, BatchMatmul>) fill(o.w);
            },
            op);
    }

    // Of an operation that has run: ||y - definition|| / ||definition|| over up to 32,768 elements; infinite where an
    // element is not written.
    double error(const Operation& op) const {
        ReferenceProblem problem = problem_of(op);
        std::int64_t samples = 1 << 15;
        void* totals = cleared_totals();
        const void* arguments[] = {&problem, &samples, &totals};
        launch(kernels_.check, std::min(samples, output_of(op).elements()), arguments);
        return relative_error();
    }

    // Keeps what a step has written, until the next call.
    void keep(const Tensor& y) {
        const Rows rows = rows_of(y);
        if (kept_bytes_ < rows.width * rows.count) {
            kept_ = {};
            kept_bytes_ = rows.width * rows.count;
            kept_ = allocate_device(kept_bytes_, "an output to compare with");
        }
        check(cudaMemcpy2DAsync(kept_.get(), rows.width, y.data, rows.pitch, rows.width, rows.count,
                                cudaMemcpyDeviceToDevice, stream_),
              "keeping an output");
    }

    // ||y - kept|| / ||kept|| of a tensor of the same shape; infinite where an element is a number in one alone.
    double difference(const Tensor& y) const {
        const Rows rows = rows_of(y);
        const auto in_elements = [&](std::size_t bytes) {
            return static_cast<std::int64_t>(bytes / bytes_of(y.dtype));
        };
        ReferenceTensor::Type type = reference_type(y.dtype);
        std::int64_t width = in_elements(rows.width), pitch = in_elements(rows.pitch);
        std::int64_t count = static_cast<std::int64_t>(rows.count);
        const void *got = y.data, *kept = kept_.get();
        void* totals = cleared_totals();
        const void* arguments[] = {&type, &got, &pitch, &kept, &width, &count, &totals};
        launch(kernels_.compare, std::min(width * count, std::int64_t{1} << 17), arguments);
        return relative_error();
    }

   private:
    void* cleared_totals() const {
        check(cudaMemsetAsync(totals_.get(), 0, 3 * sizeof(double), stream_), "clearing sums");
        return totals_.get();
    }

    double relative_error() const {
        double found[3] = {};
        check(cudaStreamSynchronize(stream_), "checking a step");
        check(cudaMemcpy(found, totals_.get(), sizeof found, cudaMemcpyDeviceToHost), "reading sums");
        if (found[2] > 0 || !(found[0] >= 0)) return HUGE_VAL;
        return found[1] > 0 ? std::sqrt(found[0] / found[1]) : std::sqrt(found[0]);
    }

    template <std::size_t N>
    void launch(const void* kernel, std::int64_t items, const void* (&arguments)[N]) const {
        void* list[N];
        for (std::size_t i = 0; i < N; ++i) list[i] = const_cast<void*>(arguments[i]);
        cudaLaunchConfig_t config{};
        config.gridDim = blocks(items, 256);
        config.blockDim = 256;
        config.stream = stream_;
        check(cudaLaunchKernelExC(&config, kernel, list), "launching a reference kernel");
    }

    ReferenceKernels kernels_;
    cudaStream_t stream_;
    DeviceBuffer totals_, kept_;
    std::size_t kept_bytes_ = 0;
    unsigned seed_ = 0;
};

}  // namespace cnngen::inline cuda
