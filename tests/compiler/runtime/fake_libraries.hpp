// What fake_libraries.cpp was told to run.
#pragma once
#include <string>
#include <thread>
#include <vector>

struct FakeRun {
    std::string plan;  // its text; "cublaslt"
    const void* handle;
    std::thread::id thread;
};

// Since the last call, in order.
std::vector<FakeRun> fake_runs();
