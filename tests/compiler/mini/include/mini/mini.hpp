// A hand-written stand-in for a generated network: what it links is what every network links.
#pragma once

namespace mini {

struct Versions {
    unsigned long long cudnn;
    unsigned long long cublaslt;
    int runtime;
};

Versions versions();

// cudaError of launching a kernel: 0 with a GPU, 35 or 100 without.
int launch();

}  // namespace mini
