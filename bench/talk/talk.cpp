// The experiments of the talk "CNN inference with cuDNN", one at a time; bench/talk.py builds and calls it.
//
//   talk device
//   talk algorithms|engines|all_engines c=128 h=128 w=128 k=128 r=3 [n=1] [stride=1] [dtype=float16] [layout=NHWC]
//   talk offered DEVICE.json c=...                 the same for a GPU that is only described: plans, no times
//   talk buffers|weights|streams c=64 h=320 layers=10
//
// Each result is a line of JSON. Times are microseconds, memory is bytes.
#include <fstream>
#include <iostream>
#include <map>
#include <sstream>

#include "chain.hpp"

namespace {

using namespace talk;

class Arguments {
   public:
    Arguments(int count, char** words) {
        for (int i = 0; i < count; ++i) {
            const std::string_view word = words[i];
            const auto at = word.find('=');
            if (at == word.npos) throw Error(text("'", word, "': expected name=value"));
            values_[std::string(word.substr(0, at))] = word.substr(at + 1);
        }
    }

    std::int64_t number(const std::string& name, std::int64_t otherwise = 0) const {
        const auto found = values_.find(name);
        if (found == values_.end() && !otherwise) throw Error(text(name, "= is missing"));
        return found == values_.end() ? otherwise : std::stoll(found->second);
    }
    bool has(const std::string& name, std::string_view value) const {
        const auto found = values_.find(name);
        return found != values_.end() && found->second == value;
    }
    Problem problem() const {
        Problem p{.n = number("n", 1), .c = number("c"), .h = number("h"), .w = number("w"), .k = number("k")};
        p.r = number("r");
        p.stride = number("stride", 1);
        p.dtype = has("dtype", "float16") ? DType::float16 : DType::float32;
        p.channels_last = has("layout", "NHWC");
        return p;
    }

   private:
    std::map<std::string, std::string> values_;
};

void device() {
    cudaDeviceProp gpu{};
    check(cudaGetDeviceProperties(&gpu, 0), "asking for the GPU");
    int driver = 0, runtime = 0;
    check(cudaDriverGetVersion(&driver), "asking for the driver's CUDA");
    check(cudaRuntimeGetVersion(&runtime), "asking for CUDA's version");
    const auto version = [](int number) { return text(number / 1000, ".", number % 1000 / 10); };
    const std::size_t cudnn = cudnnGetVersion();
    Line()
        .add("gpu", gpu.name)
        .add("multiprocessors", gpu.multiProcessorCount)
        .add("driver's CUDA", version(driver))
        .add("CUDA", version(runtime))
        .add("cuDNN", text(cudnn / 10000, ".", cudnn % 10000 / 100, ".", cudnn % 100))
        .print();
}

std::string contents(const char* path) {
    std::ostringstream out;
    out << std::ifstream(path).rdbuf();
    if (out.str().empty()) throw Error(text(path, " cannot be read"));
    return out.str();
}

void run(const std::string& what, int count, char** words) {
    if (what == "device") return device();
    if (what == "offered" && count) {
        const cudnn::Target target = cudnn::Target::described(contents(words[0]));
        return engines(Arguments(count - 1, words + 1).problem(), target, nullptr, true);
    }
    const Arguments arguments(count, words);
    const Stream stream = make_stream();
    const CudnnHandle handle = make_cudnn(stream.get());
    if (what == "algorithms") return algorithms(arguments.problem(), handle.get(), stream.get());
    if (what == "engines" || what == "all_engines") {
        return engines(arguments.problem(), {.handle = handle.get()}, stream.get(), what == "all_engines");
    }
    if (what != "buffers" && what != "weights" && what != "streams") throw Error(text("what is '", what, "'?"));
    Chain chain(arguments.number("c"), arguments.number("h"), static_cast<int>(arguments.number("layers")),
                handle.get(), stream.get());
    if (what == "buffers") chain.buffers();
    if (what == "weights") chain.uploads();
    if (what == "streams") chain.streams();
}

}  // namespace

int main(int argc, char** argv) try {
    if (argc < 2) throw cnngen::Error("what is to be measured? The comment at the top of talk.cpp lists it");
    run(argv[1], argc - 2, argv + 2);
} catch (const std::exception& error) {
    std::cerr << "talk: " << error.what() << "\n";
    return 1;
}
