// Measures what could run each step of a network, and whole passes: what `cnngen tune` drives. Only the project that
// it makes includes this.
#pragma once

#include <set>

#include "cnngen/cuda/kernels/reference_problem.hpp"
#include "cnngen/cuda/network.hpp"

namespace cnngen::inline cuda {

struct Measurement {
    double microseconds;  // of one launch, or pass: the median
    double spread;        // between the quartiles
};

// A step as it was handed to a pass, kept so that it can be launched again, with its weights elsewhere.
struct CandidateStep {
    std::string layer;
    Tensor y;
    std::optional<Operation> operation;  // of a library; else a kernel:
    const void* function = nullptr;
    Grid grid = {};
    std::vector<std::vector<std::byte>> arguments = {};
};

// Collects the steps of a pass.
class Gather final : public StepVisitor {
   public:
    void visit(const Operation& op) override {
        labels_.push_back(layers_of(op).label());
        steps.push_back({labels_.back(), output_of(op), op});
    }
    void visit(const KernelCall& call) override {
        CandidateStep step{call.layers.label(), call.y, std::nullopt, call.function, call.grid};
        for (const Argument& a : call.arguments) {
            const auto* bytes = static_cast<const std::byte*>(a.value);
            step.arguments.emplace_back(bytes, bytes + a.bytes);
        }
        steps.push_back(std::move(step));
    }

    std::vector<CandidateStep> steps;

   private:
    std::deque<std::string> labels_;
};

// Runs and times the steps of a model's plans. Not for several threads.
class Tuner {
   public:
    // tensors: where each tensor of the slab lies and how large it is. footprints: the bytes that a pass touches, by
    // plan; where they exceed the cache, weights are found in memory and not in the cache.
    Tuner(const Model& model, const ReferenceKernels& reference, const std::string& weights, int device,
          std::vector<Weight> tensors, std::vector<std::size_t> footprints, std::size_t workspace_limit)
        : model_(model),
          reference_(reference),
          device_(device),
          tensors_(std::move(tensors)),
          footprints_(std::move(footprints)),
          workspace_limit_(workspace_limit) {
        check_installation(model, device);
        const DeviceGuard guard(device);
        check(cudaGetDeviceProperties(&gpu_, device), "asking for the GPU's properties");
        check_architecture(model, gpu_);
        weights_ = upload_weights(model, weights);
        arena_ = allocate_device(*std::ranges::max_element(model.arena_bytes), "activations");
        workspace_ = allocate_device(workspace_limit, "workspace");
        totals_ = allocate_device(3 * sizeof(double), "sums");
        eviction_bytes_ = 2 * static_cast<std::size_t>(gpu_.l2CacheSize);
        eviction_ = allocate_device(eviction_bytes_, "what evicts the cache");
        stream_ = make_stream();
        cudnn_ = make_cudnn(stream_.get());
        cublaslt_ = make_cublaslt();
        executor_ = {cudnn_.get(), cublaslt_.get(), stream_.get(), workspace_.get(), gpu_.major >= 9};
        for (std::size_t i = 0; i < model.plan_count(); ++i) {
            Gather gather;
            buffers_.push_back(place(i));
            Pass pass(gather, buffers_.back(), model.batch_of(i), i);
            model.forward(pass);
            steps_.push_back(std::move(gather.steps));
        }
        fill({arena_.get(), DType::float16, 1, {static_cast<std::int64_t>(largest_arena() / 2)}, {1}}, 1);
    }

    const std::vector<CandidateStep>& steps(std::size_t plan) const { return steps_[plan]; }
    const cudaDeviceProp& gpu() const { return gpu_; }

    // What a library offers for a step: cuDNN by its heuristics' order, and for products cuBLASLt and cuDNN's own.
    // Each is built, in parallel; those that cannot be, or do not keep to the limits, are left out.
    std::vector<std::string> engines(std::size_t plan, std::size_t step) {
        const Operation& op = operation(plan, step);
        std::vector<Engine> offered;
        offer_cudnn(op, Library::cudnn, offered);
        if (const auto* c = std::get_if<Convolution>(&op); c && as_matmul(*c)) {
            offer_cudnn(*as_matmul(*c), Library::cudnn_matmul, offered);
            offer_cublaslt(*as_matmul(*c), offered);
        } else {
            offer_cublaslt(op, offered);
        }
        return built(op, offered);
    }

    // The engine with each of its knobs at other values, at most `most` in all, which are built.
    std::vector<std::string> variations(std::size_t plan, std::size_t step, const std::string& engine,
                                        std::size_t most) {
        const Operation& op = operation(plan, step);
        const Engine base = parse_engine(engine);
        if (base.library == Library::cublaslt) return {};
        const DeviceGuard guard(device_);
        const cudnn::Graph graph = graph_of(work_for(op, base.library), cudnn_.get());
        std::vector<Engine> offered;
        for (const cudnn::Knob& knob : cudnn::knobs_of(graph, {.handle = cudnn_.get()}, base.number)) {
            for (std::int64_t value = knob.low; value <= knob.high; value += std::max<std::int64_t>(knob.stride, 1)) {
                Engine changed = base;
                const auto found = std::ranges::find(changed.settings, std::to_string(knob.type),
                                                     &std::pair<std::string, std::int64_t>::first);
                if (found == changed.settings.end() || found->second == value) continue;
                found->second = value;
                offered.push_back(std::move(changed));
            }
        }
        // From all knobs alike, where there are too many.
        std::vector<Engine> some;
        for (std::size_t i = 0; i < std::min(most, offered.size()); ++i) {
            some.push_back(offered[i * offered.size() / std::min(most, offered.size())]);
        }
        return built(op, some);
    }

    // The workspace of an engine that was built for a step.
    std::size_t workspace(std::size_t plan, std::size_t step, const std::string& engine) {
        return plan_of(operation(plan, step), engine)->workspace();
    }

    // The relative error of a library's step, ||y - definition|| / ||definition|| over up to 131,072 elements; infinite
    // where an element is not written.
    double error(std::size_t plan, std::size_t step, const std::string& engine) {
        const DeviceGuard guard(device_);
        const Operation& op = operation(plan, step);
        const Tensor& y = output_of(op);
        std::visit(
            [&](const auto& o) {
                fill(o.x, ++seed_);
                for (const Pointwise& p : o.epilogue) {
                    if (p.operand.rank > 1) fill(p.operand, ++seed_);
                }
                if constexpr (std::is_same_v<std::decay_t<decltype(o)>, BatchMatmul>) fill(o.w, ++seed_);
            },
            op);
        poison(y);
        executor_.execute(*plan_of(op, engine), op);
        check(cudaMemsetAsync(totals_.get(), 0, 3 * sizeof(double), stream_.get()), "clearing sums");
        ReferenceProblem problem = problem_of(op);
        std::int64_t samples = 1 << 17;
        void* totals = totals_.get();
        const void* arguments[] = {&problem, &samples, &totals};
        launch(reference_.check, std::min(samples, y.elements()), arguments);
        double found[3] = {};
        check(cudaStreamSynchronize(stream_.get()), "checking '", steps_[plan][step].layer, "'");
        check(cudaMemcpy(found, totals_.get(), sizeof found, cudaMemcpyDeviceToHost), "reading sums");
        if (found[2] > 0 || !(found[0] >= 0)) return HUGE_VAL;
        return found[1] > 0 ? std::sqrt(found[0] / found[1]) : std::sqrt(found[0]);
    }

    // What a step writes by an engine, in memory order, without what lies between; a kernel's by "".
    std::vector<std::byte> output(std::size_t plan, std::size_t step, const std::string& engine) {
        const DeviceGuard guard(device_);
        const CandidateStep& s = steps_[plan][step];
        poison(s.y);
        s.operation ? executor_.execute(*plan_of(*s.operation, engine), *s.operation) : launch(s, 0);
        check(cudaStreamSynchronize(stream_.get()), "running '", s.layer, "'");
        const Rows rows = rows_of(s.y);
        std::vector<std::byte> out(rows.width * rows.count);
        check(
            cudaMemcpy2D(out.data(), rows.width, s.y.data, rows.pitch, rows.width, rows.count, cudaMemcpyDeviceToHost),
            "copying an output");
        return out;
    }

    // Microseconds of a step by an engine, a kernel's by "". Gives up early on what takes more than `no_more`.
    Measurement measure(std::size_t plan, std::size_t step, const std::string& engine, double no_more = HUGE_VAL) {
        const DeviceGuard guard(device_);
        const CandidateStep& s = steps_[plan][step];
        const std::shared_ptr<Plan> by = s.operation ? plan_of(*s.operation, engine) : nullptr;
        const bool is_cold = footprints_[plan] > static_cast<std::size_t>(gpu_.l2CacheSize) * 6 / 10;
        const auto work = [&](int copy) { by ? execute(*by, *s.operation, copy) : launch(s, copy); };
        work(0);  // loads the kernel, which a capture may not
        const double once = timed(4, 1, is_cold, work).microseconds;
        if (once > 2 * no_more) return {once, 0};
        return timed(std::clamp(static_cast<int>(150 / std::max(once, 0.5)), 4, most_copies), 7, is_cold, work);
    }

    // Microseconds of a whole pass. Each step is that of a plan whose buffers lie where this one's do, by an engine, or
    // by "" as the code says; no steps: this plan's own.
    Measurement measure_pass(std::size_t plan, std::vector<std::pair<std::size_t, std::string>> choices, int replays) {
        const DeviceGuard guard(device_);
        choices.resize(steps_.at(plan).size(), {plan, ""});
        std::vector<std::pair<const CandidateStep*, std::shared_ptr<Plan>>> run_by;
        for (std::size_t i = 0; i < choices.size(); ++i) {
            const CandidateStep& s = steps_.at(choices[i].first).at(i);
            run_by.emplace_back(&s, s.operation ? plan_of(*s.operation, choices[i].second) : nullptr);
        }
        const auto run = [&] {
            for (const auto& [s, by] : run_by) by ? executor_.execute(*by, *s->operation) : launch(*s, 0);
        };
        run();
        const Graph graph = capture(stream_.get(), run);
        const GraphExec exec = instantiate(graph);
        const auto replay = [&] { check(cudaGraphLaunch(exec.get(), stream_.get()), "launching a pass"); };
        for (int i = 0; i < 3; ++i) replay();
        return median(replays, replay);
    }

    // The outputs of a pass on inputs in host memory, as the code says; both in the model's order.
    void run_pass(std::size_t plan, std::span<const void* const> inputs, std::span<void* const> outputs) {
        const DeviceGuard guard(device_);
        const std::size_t profile = model_.profile_of(plan);
        const auto bytes = [&](const Port& port) {
            return port.bytes(profile) * static_cast<std::size_t>(model_.batch_of(plan));
        };
        check(cudaMemsetAsync(arena_.get(), 0xff, largest_arena(), stream_.get()), "poisoning activations");
        for (std::size_t i = 0; i < inputs.size(); ++i) {
            check(cudaMemcpyAsync(buffers_[plan].inputs[i], inputs[i], bytes(model_.inputs[i]), cudaMemcpyHostToDevice,
                                  stream_.get()),
                  "copying an input");
        }
        for (const CandidateStep& s : steps_[plan]) {
            if (s.operation) {
                executor_.execute(*plan_of(*s.operation, ""), *s.operation);
            } else {
                launch(s, 0);
            }
        }
        check(cudaStreamSynchronize(stream_.get()), "running a pass");
        for (std::size_t i = 0; i < outputs.size(); ++i) {
            check(cudaMemcpy(outputs[i], buffers_[plan].outputs[i], bytes(model_.outputs[i]), cudaMemcpyDeviceToHost),
                  "copying an output");
        }
    }

    // Keeps the plans of a pass as text in a folder, as a network with these engines will look for them.
    void save_plans(std::size_t plan, const std::vector<std::string>& engines, const std::string& folder) {
        const DeviceGuard guard(device_);
        const PlanFolder into = plan_folder(folder, gpu_);
        for (std::size_t i = 0; i < steps_.at(plan).size(); ++i) {
            if (!steps_[plan][i].operation) continue;
            Operation op = *steps_[plan][i].operation;
            std::visit([&](auto& o) { o.engine = engines.at(i).c_str(); }, op);
            const std::shared_ptr<Plan> made = plan_of(op, "");
            if (const auto serialized = made->serialized()) {
                into.write(plan_key(op, workspace_limit_), {engine_text(made->engine()), *serialized});
            }
        }
    }

   private:
    static constexpr int most_copies = 32;

    std::size_t largest_arena() const { return *std::ranges::max_element(model_.arena_bytes); }

    Buffers place(std::size_t plan) const {
        Buffers buffers{arena_.get(), weights_.get(), {}, {}};
        const auto address = [&](const Port& port) {
            return static_cast<void*>(static_cast<std::byte*>(arena_.get()) + port.staging[plan]);
        };
        for (const Port& port : model_.inputs) buffers.inputs.push_back(address(port));
        for (const Port& port : model_.outputs) buffers.outputs.push_back(address(port));
        return buffers;
    }

    const Operation& operation(std::size_t plan, std::size_t step) const {
        const CandidateStep& s = steps_.at(plan).at(step);
        if (!s.operation) throw ArgumentError(text("step '", s.layer, "' is a kernel: it has no engines"));
        return *s.operation;
    }

    // --- engines ------------------------------------------------------------------------------------------------

    void offer_cudnn(const Operation& work, Library library, std::vector<Engine>& offered) const {
        const DeviceGuard guard(device_);
        try {
            const cudnn::Graph graph = graph_of(work, cudnn_.get());
            for (auto mode : {CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_B, CUDNN_HEUR_MODE_FALLBACK}) {
                for (const cudnn::Descriptor& config : cudnn::engine_configs(graph, {.handle = cudnn_.get()}, mode)) {
                    Engine engine = cudnn::engine_of(config);
                    engine.library = library;
                    offered.push_back(std::move(engine));
                }
            }
        } catch (const Error&) {
            // cuDNN has no such graph: another library may.
        }
    }

    void offer_cublaslt(const Operation& work, std::vector<Engine>& offered) const {
        const DeviceGuard guard(device_);
        std::visit(
            [&](const auto& product) {
                if constexpr (!std::is_same_v<std::decay_t<decltype(product)>, Convolution>) {
                    if (!lt::fuse(product)) return;
                    const auto found = lt::Plan::engines(product, cublaslt_.get(), workspace_limit_, 12);
                    offered.insert(offered.end(), found.begin(), found.end());
                }
            },
            work);
    }

    std::vector<std::string> built(const Operation& op, const std::vector<Engine>& offered) {
        std::vector<std::string> names;
        std::set<std::string> seen;
        for (const Engine& engine : offered) {
            if (seen.insert(engine_text(engine)).second) names.push_back(engine_text(engine));
        }
        std::vector<std::shared_ptr<Plan>> plans(names.size());
        std::mutex mutex;
        const auto setup = [&] {
            check(cudaSetDevice(device_), "selecting the GPU");
            CudnnHandle handle = make_cudnn();
            const std::lock_guard lock(mutex);
            return handles_.emplace_back(std::move(handle)).get();
        };
        in_parallel(names.size(), default_threads(), setup, [&](cudnnHandle_t handle, std::size_t i) {
            plans[i] = plan_by(parse_engine(names[i]), op, handle, cublaslt_.get(), workspace_limit_);
        });
        std::vector<std::string> out;
        for (std::size_t i = 0; i < names.size(); ++i) {
            if (!plans[i]) continue;
            plans_[text(signature(op), " by ", names[i])] = plans[i];
            out.push_back(names[i]);
        }
        return out;
    }

    // "": the engine that the code names, or the library's first choice.
    std::shared_ptr<Plan> plan_of(const Operation& op, const std::string& engine) {
        const std::string name = engine.empty() ? std::string(engine_of(op)) : engine;
        std::shared_ptr<Plan>& plan = plans_[text(signature(op), " by ", name)];
        if (!plan) {
            plan = name.empty() ? first_plan(op, cudnn_.get(), cublaslt_.get(), workspace_limit_)
                                : plan_by(parse_engine(name), op, cudnn_.get(), cublaslt_.get(), workspace_limit_);
        }
        return plan;
    }

    // --- launching ----------------------------------------------------------------------------------------------

    // `copy`: which copy of the weights is read; 0 is the slab itself.
    void execute(Plan& plan, const Operation& op, int copy) {
        std::vector<void*> addresses = addresses_of(op);
        addresses[1] = weight_copy(addresses[1], copy);
        plan.execute(addresses, executor_.cudnn, executor_.cublaslt, executor_.workspace, executor_.stream);
    }

    void launch(const CandidateStep& s, int copy) {
        Layers layers{s.layer.c_str()};
        std::vector<std::vector<std::byte>> values = s.arguments;
        std::byte* const largest = copy ? largest_weight(values) : nullptr;
        std::vector<Argument> arguments;
        for (auto& value : values) {
            if (largest && address_in(value) == largest) {
                void* const other = weight_copy(largest, copy);
                std::memcpy(value.data(), &other, sizeof other);
            }
            arguments.push_back({value.data(), value.size()});
        }
        executor_.execute(KernelCall{layers, s.y, s.function, s.grid, arguments});
    }

    // An argument of an address' size as an address.
    static std::byte* address_in(const std::vector<std::byte>& value) {
        std::byte* address = nullptr;
        if (value.size() == sizeof address) std::memcpy(&address, value.data(), sizeof address);
        return address;
    }

    // The tensor of the slab that starts at an address; null where none does.
    const Weight* tensor_at(const void* address) const {
        const auto base = reinterpret_cast<std::uintptr_t>(weights_.get()),
                   at = reinterpret_cast<std::uintptr_t>(address);
        if (at < base || at >= base + model_.weight_bytes) return nullptr;
        const auto found = std::ranges::find(tensors_, at - base, &Weight::offset);
        return found == tensors_.end() ? nullptr : &*found;
    }

    // The address of the largest tensor of the slab among a kernel's arguments; null where there is none.
    std::byte* largest_weight(const std::vector<std::vector<std::byte>>& values) const {
        std::byte* largest = nullptr;
        for (const auto& value : values) {
            const Weight* tensor = tensor_at(address_in(value));
            if (tensor && (!largest || tensor->bytes > tensor_at(largest)->bytes)) largest = address_in(value);
        }
        return largest;
    }

    // Where copy `copy` of the tensor at an address of the slab lies; any other address as it is.
    void* weight_copy(void* address, int copy) {
        const Weight* const tensor = tensor_at(address);
        if (copy == 0 || !tensor) return address;
        const std::size_t stride = (tensor->bytes + 255) / 256 * 256;
        if (copied_ != address) {
            if (copies_bytes_ < stride * most_copies) {
                copies_ = {};
                copies_ = allocate_device(stride * most_copies, "copies of weights");
                copies_bytes_ = stride * most_copies;
            }
            for (int i = 0; i < most_copies; ++i) {
                check(cudaMemcpyAsync(static_cast<std::byte*>(copies_.get()) + static_cast<std::size_t>(i) * stride,
                                      address, tensor->bytes, cudaMemcpyDeviceToDevice, stream_.get()),
                      "copying weights");
            }
            copied_ = address;
        }
        return static_cast<std::byte*>(copies_.get()) + static_cast<std::size_t>(copy % most_copies) * stride;
    }

    template <std::size_t N>
    void launch(const void* kernel, std::int64_t items, const void* (&arguments)[N]) const {
        void* list[N];
        for (std::size_t i = 0; i < N; ++i) list[i] = const_cast<void*>(arguments[i]);
        cudaLaunchConfig_t config{};
        config.gridDim = blocks(items, 256);
        config.blockDim = 256;
        config.stream = stream_.get();
        check(cudaLaunchKernelExC(&config, kernel, list), "launching a reference kernel");
    }

    // --- timing -------------------------------------------------------------------------------------------------

    // A graph of `launches` launches, each with another copy of its weights where they are not to be in the cache.
    template <class Work>
    Measurement timed(int launches, int replays, bool is_cold, Work&& work) {
        copied_ = nullptr;
        if (is_cold) work(1);  // makes the copies, which a capture may not
        const Graph graph = capture(stream_.get(), [&] {
            for (int i = 0; i < launches; ++i) work(is_cold ? i + 1 : 0);
        });
        const GraphExec exec = instantiate(graph);
        check(cudaGraphUpload(exec.get(), stream_.get()), "uploading a graph");
        const auto replay = [&] { check(cudaGraphLaunch(exec.get(), stream_.get()), "launching a step"); };
        Measurement found = median(replays + 1, replay, [&] {
            // Long enough that what follows waits for it and not for the host.
            check(cudaMemsetAsync(eviction_.get(), 0, eviction_bytes_, stream_.get()), "evicting the cache");
            if (!is_cold) replay();
        });
        found.microseconds /= launches;
        found.spread /= launches;
        return found;
    }

    template <class Work>
    Measurement median(int replays, Work&& work) {
        return median(replays, work, [] {});
    }

    template <class Work, class Before>
    Measurement median(int replays, Work&& work, Before&& before) {
        std::vector<double> times;
        for (int i = 0; i < replays; ++i) {
            before();
            check(cudaEventRecord(begin_.get(), stream_.get()), "starting the clock");
            work();
            check(cudaEventRecord(end_.get(), stream_.get()), "stopping the clock");
            check(cudaEventSynchronize(end_.get()), "timing");
            float milliseconds = 0;
            check(cudaEventElapsedTime(&milliseconds, begin_.get(), end_.get()), "reading the clock");
            if (i || replays == 1) times.push_back(milliseconds * 1e3);
        }
        std::ranges::sort(times);
        return {times[times.size() / 2], times[times.size() * 3 / 4] - times[times.size() / 4]};
    }

    // --- the reference ------------------------------------------------------------------------------------------

    // Bytes from the first element to behind the last one.
    static std::size_t extent(const Tensor& t) {
        std::int64_t last = 0;
        for (int axis = 0; axis < t.rank; ++axis) last += (t.dims[axis] - 1) * t.strides[axis];
        return static_cast<std::size_t>(last + 1) * bytes_of(t.dtype);
    }

    // How a tensor lies: so many bytes, then what is another's, so many times.
    struct Rows {
        std::size_t width, pitch, count;
    };
    static Rows rows_of(const Tensor& t) {
        const auto item = bytes_of(t.dtype);
        const bool has_gaps = t.rank == 4 && t.strides[1] == 1 && t.strides[3] > t.dims[1];
        if (!has_gaps) return {extent(t), extent(t), 1};
        return {static_cast<std::size_t>(t.dims[1]) * item, static_cast<std::size_t>(t.strides[3]) * item,
                static_cast<std::size_t>(t.dims[0] * t.dims[2] * t.dims[3])};
    }

    void poison(const Tensor& y) {
        const Rows rows = rows_of(y);
        check(cudaMemset2DAsync(y.data, rows.pitch, 0xff, rows.width, rows.count, stream_.get()),
              "poisoning an output");
    }

    // A tensor with what lies between its rows.
    void fill(const Tensor& t, unsigned seed) {
        const void* kernel = t.dtype == DType::float16    ? reference_.fill_float16
                             : t.dtype == DType::bfloat16 ? reference_.fill_bfloat16
                                                          : reference_.fill_float32;
        void* data = t.data;
        std::int64_t count = static_cast<std::int64_t>(extent(t) / bytes_of(t.dtype));
        const void* arguments[] = {&data, &count, &seed};
        launch(kernel, count, arguments);
    }

    static ReferenceTensor reference_tensor(const Tensor& t) {
        ReferenceTensor out{t.data,
                            t.dtype == DType::float16    ? ReferenceTensor::float16
                            : t.dtype == DType::bfloat16 ? ReferenceTensor::bfloat16
                                                         : ReferenceTensor::float32,
                            t.rank,
                            {},
                            {}};
        std::ranges::copy(t.dims, out.dims);
        std::ranges::copy(t.strides, out.strides);
        return out;
    }

    static ReferenceProblem problem_of(const Operation& op) {
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

    const Model& model_;
    ReferenceKernels reference_;
    int device_;
    std::vector<Weight> tensors_;
    std::vector<std::size_t> footprints_;
    std::size_t workspace_limit_;
    cudaDeviceProp gpu_{};
    DeviceBuffer weights_, arena_, workspace_, totals_, eviction_, copies_;
    std::size_t eviction_bytes_ = 0, copies_bytes_ = 0;
    const void* copied_ = nullptr;  // the tensor that `copies_` holds
    Stream stream_;
    std::deque<CudnnHandle> handles_;
    CudnnHandle cudnn_;
    CublasLtHandle cublaslt_;
    Executor executor_;
    std::vector<Buffers> buffers_;                   // by plan
    std::vector<std::vector<CandidateStep>> steps_;  // likewise
    std::map<std::string, std::shared_ptr<Plan>> plans_;
    Event begin_ = make_event(cudaEventDefault);
    Event end_ = make_event(cudaEventDefault);
    unsigned seed_ = 1;
};

}  // namespace cnngen::inline cuda
